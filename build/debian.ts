/** A Debian package: the same files as in the archive, where Debian looks for them. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { settleModes } from './archive.ts';
import { places } from './texts.ts';

export interface DebianOptions {
  /** A folder that has what an archive has. */
  readonly contents: string;
  /** An empty folder to lay the package out in. */
  readonly staging: string;
  readonly version: string;
  /** Debian's name for the machine. */
  readonly machine: string;
  /** Seconds since 1970. */
  readonly epoch: number;
}

/** Writes a `.deb` by dpkg-deb. */
export function writeDebian(
  output: string,
  { contents, staging, version, machine, epoch }: DebianOptions,
): void {
  const put = (file: string, place: string) => {
    mkdirSync(dirname(join(staging, place)), { recursive: true });
    copyFileSync(join(contents, file), join(staging, place));
  };
  put('mint-ssh', 'usr/bin/mint-ssh');
  for (const [file, place] of Object.entries(places)) {
    // Debian's zsh has its packages' completions elsewhere.
    put(file, `usr/${place.replace('zsh/site-functions', 'zsh/vendor-completions')}`);
  }
  execFileSync('gzip', ['-9', '-n', join(staging, 'usr/share/man/man1/mint-ssh.1')]);
  put('README.md', 'usr/share/doc/mint-ssh/README.md');
  put('LICENSE', 'usr/share/doc/mint-ssh/copyright');
  put('THIRD-PARTY-LICENSES.txt', 'usr/share/doc/mint-ssh/THIRD-PARTY-LICENSES.txt');

  const files = readdirSync(staging, { recursive: true, encoding: 'utf8' })
    .map((name) => statSync(join(staging, name)))
    .filter((entry) => entry.isFile());
  const kibibytes = Math.ceil(files.reduce((sum, { size }) => sum + size, 0) / 1024);
  mkdirSync(join(staging, 'DEBIAN'));
  writeFileSync(join(staging, 'DEBIAN/control'), controlFile(version, machine, kibibytes));
  settleModes(staging, ['usr/bin/mint-ssh']);
  // One thread: with more, xz's output depends on how many there are. Its default level takes five times as long.
  const words = ['--root-owner-group', '-Zxz', '-z1', '--threads-max=1', '--build', staging, output];
  execFileSync('dpkg-deb', words, {
    env: { ...process.env, SOURCE_DATE_EPOCH: String(epoch), LC_ALL: 'C' },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

/** The libraries are those that the Node build is linked to; all are in Debian's base system. */
function controlFile(version: string, machine: string, kibibytes: number): string {
  return `Package: mint-ssh
Version: ${version}
Architecture: ${machine}
Maintainer: the mint-ssh authors <mint-ssh@localhost>
Installed-Size: ${kibibytes}
Depends: libc6 (>= 2.28), libgcc-s1, libstdc++6
Recommends: openssh-client
Section: net
Priority: optional
Description: plain "ssh vmname" to an EC2 VM, with no key and no prompt
 mint-ssh is the ProxyCommand of your VMs and an ssh-agent beside it: it turns
 a name into an instance, authorises a fresh key there through EC2 Instance
 Connect while it dials, checks the host key in the stream, and keeps the
 private key in memory alone.
`;
}
