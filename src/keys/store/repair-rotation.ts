/** What `keys doctor` does about the keys of a rotation. Only a person can tell that an old key is needed no more. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { command } from '../../cli/shell-command.ts';
import { MintError } from '../../errors.ts';
import { quoted, writeAtomic } from '../../platform/files.ts';
import { changeEntry, makeChange, type RotationKey, readMetadata } from './journal.ts';
import { blobInFile, publicHalf } from './key-halves.ts';
import { timestamp } from './key-store.ts';
import { publicLine } from './key-type.ts';
import type { KeyRecord } from './metadata.ts';
import { rotationEntry } from './rotation-state.ts';

export interface Finding {
  readonly what: string;
  /** `mended`, or what a person has to do. */
  readonly remedy: 'mended' | { readonly hint: string };
}

/** Runs something under the store's lock. */
export type Locked = <T>(action: () => T) => T;

export function mended(what: string): Finding {
  return { what, remedy: 'mended' };
}

export async function inspectRotation(
  directory: string,
  { name, rotation }: KeyRecord,
  locked: Locked,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const role of ['next', 'old'] as const) {
    const path = join(directory, `${name}.${role}`);
    const isWanted = rotation?.stage === (role === 'next' ? 'adding' : 'removing');
    if (!isWanted && existsSync(path)) findings.push(unexpected(directory, { name, rotation }, role, locked));
    if (isWanted) findings.push(...(await inspectOther(directory, name, role, locked)));
  }
  return findings;
}

/** As where metadata.json was made anew: nobody knows by now which instances have which key. */
function unexpected(
  directory: string,
  { name, rotation }: Pick<KeyRecord, 'name' | 'rotation'>,
  role: RotationKey,
  locked: Locked,
): Finding {
  const path = join(directory, `${name}.${role}`);
  if (role === 'old' || rotation !== undefined) {
    const hint = `where an instance may still have it alone: \`${command`mint-ssh keys import PROFILE --key-file ${path}`}\`; then remove the file`;
    return {
      what: `${quoted(path)} is the key of a rotation that metadata.json does not know`,
      remedy: { hint },
    };
  }
  locked(() => {
    const entry = readMetadata(directory).entries[name];
    const rotation = { stage: 'adding', startedAt: timestamp(), instances: {}, regions: [] } as const;
    if (entry !== undefined) changeEntry(directory, name, { ...entry, rotation: rotationEntry(rotation) });
  });
  return mended(`metadata.json did not know of the rotation that ${quoted(path)} is of`);
}

async function inspectOther(
  directory: string,
  name: string,
  role: RotationKey,
  locked: Locked,
): Promise<Finding[]> {
  const path = join(directory, `${name}.${role}`);
  const blob = await publicHalf(directory, name, role);
  if (blob instanceof MintError && role === 'next') {
    // Whatever instance has it has the one in use as well.
    locked(() => {
      const { rotation: _, ...entry } = readMetadata(directory).entries[name] ?? {};
      makeChange(directory, { name, entry, next: null });
    });
    return [mended(`the new key of a rotation, ${quoted(path)}, is no good: there is no rotation any more`)];
  }
  if (blob instanceof MintError) {
    const hint = `put it back from a backup; \`mint-ssh keys detach ${name} VM --force\` gives up an instance that has no other key`;
    return [{ what: `${quoted(path)}: ${blob.message}`, remedy: { hint } }];
  }
  if (blob === undefined || blobInFile(directory, name, role)?.equals(blob) === true) return [];
  locked(() => writeAtomic(`${path}.pub`, publicLine(blob, name), { mode: 0o644 }));
  return [mended(`${quoted(`${path}.pub`)} was not there, or of another key`)];
}
