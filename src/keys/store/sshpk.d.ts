/** Types for the part of sshpk that is used here; the package has no types of its own. */
declare module 'sshpk' {
  interface SshpkPrivateKey {
    comment: string;
    toBuffer(
      format: 'ssh-private',
      options: { readonly passphrase?: string; readonly cipher?: string },
    ): Buffer;
  }
  const sshpk: { parsePrivateKey(pem: string, format: 'pkcs8'): SshpkPrivateKey };
  export = sshpk;
}
