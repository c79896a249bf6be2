/** Imports managed keys into EC2 as key pairs. Never overwrites a key pair with other content. */
import { ownAws } from '../../aws/own-credentials.ts';
import type { KeyPair } from '../../aws/requests.ts';
import { command } from '../../cli/shell-command.ts';
import { printable } from '../../cli/terminal.ts';
import { MintError } from '../../errors.ts';
import { awsFingerprint, isForEc2, plainFingerprint } from '../../keys/aws-fingerprint.ts';
import { blobOfLine } from '../../keys/store/key-type.ts';
import type { Ec2Name } from '../../keys/store/own-state.ts';
import { awsKeyName } from '../../keys/store/profile-name.ts';
import { thisCaller } from '../../platform/caller.ts';
import type { KeysRequest } from './request.ts';

export interface Ec2KeyPairs {
  /**
   * @returns undefined if the name is free
   * @throws MintError `key-exists` if it has other content than one of these
   */
  readonly check: (at: Ec2Name, blobs: readonly Buffer[]) => Promise<Buffer | undefined>;
  /**
   * @param line of a `.pub` file
   * @throws MintError `key-exists`, `aws-…`
   */
  readonly put: (at: Ec2Name, line: string) => Promise<'imported' | 'present'>;
  /**
   * Deletes the key pair if it holds one of these keys.
   * @returns false if there is none
   */
  readonly remove: (at: Ec2Name, blobs: readonly Buffer[]) => Promise<boolean>;
}

/** Calls `action` with the key pairs of the caller's account. */
export async function withEc2<T>(
  { settings, globals }: KeysRequest,
  action: (ec2: Ec2KeyPairs) => Promise<T>,
): Promise<T> {
  const aws = ownAws();
  const caller = thisCaller();
  const profile = globals.profile ?? settings().named('default').profile;
  const target = ({ region, name }: Ec2Name) => ({ region, profile, keyName: name });

  const check: Ec2KeyPairs['check'] = async (at, blobs) => {
    const found = await aws.keyPair(caller, target(at));
    if (found === undefined) return undefined;
    const same = blobs.find((blob) => isSame(found, blob));
    if (same !== undefined) return same;
    throw otherContent(at, found, blobs[0]);
  };
  try {
    return await action({
      check,
      async put(at, line) {
        const blob = blobOfLine(line) ?? Buffer.alloc(0);
        if ((await check(at, [blob])) !== undefined) return 'present';
        const reply = await aws.importKeyPair(caller, { ...target(at), publicKey: line });
        // Another process was faster, with the same key or with another one.
        if (reply === 'taken') await check(at, [blob]);
        return reply === 'taken' ? 'present' : 'imported';
      },
      async remove(at, blobs) {
        if ((await check(at, blobs)) === undefined) return false;
        await aws.deleteKeyPair(caller, target(at));
        return true;
      },
    });
  } finally {
    await aws.close();
  }
}

/**
 * The name that a key gets in a region.
 * @throws MintError `usage` if no region is set
 */
export function nameInEc2(name: string, region: string | undefined): Ec2Name {
  const awsName = awsKeyName(name, region);
  if (region !== undefined && awsName !== undefined) return { region, name: awsName };
  throw new MintError('usage', 'no region is set for the EC2 key pair', {
    hint: 'name it with --region, or set region in ssh.toml',
  });
}

/** @throws MintError `key-format` for an ECDSA key */
export function checkForEc2(blob: Buffer): void {
  if (isForEc2(blob)) return;
  throw new MintError('key-format', 'EC2 does not accept ECDSA keys', {
    hint: 'use an ed25519 or RSA key, or omit --aws',
  });
}

/** Whether the key pair holds this key: compares the public key if EC2 shows it, else the fingerprint. */
function isSame(found: KeyPair, blob: Buffer): boolean {
  const theirs = blobOfLine(found.publicKey.trim());
  if (theirs !== undefined) return theirs.equals(blob);
  return plainFingerprint(found.fingerprint) === awsFingerprint(blob);
}

function otherContent({ region, name }: Ec2Name, found: KeyPair, blob: Buffer | undefined): MintError {
  const theirs = blobOfLine(found.publicKey.trim());
  const shown = theirs === undefined ? plainFingerprint(found.fingerprint) : awsFingerprint(theirs);
  const ours = blob === undefined ? 'none' : awsFingerprint(blob);
  const message = `EC2 has another key as ${name} in ${region}: ${printable(shown)} there, ${ours} here`;
  return new MintError('key-exists', message, {
    hint: command`if it is no longer needed: aws ec2 delete-key-pair --key-name ${name} --region ${region}`,
  });
}
