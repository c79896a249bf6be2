/** Archives whose bytes depend on their content alone: names sorted, times and owners fixed. */
import { execFileSync } from 'node:child_process';
import { chmodSync, lstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { zipSync } from 'fflate';

/** Packs a folder, under its own name, with GNU tar and gzip. @param epoch seconds since 1970 */
export function writeTarGz(output: string, folder: string, epoch: number): void {
  const words = [
    '--create',
    '--format=ustar',
    '--sort=name',
    `--mtime=@${epoch}`,
    '--owner=0',
    '--group=0',
    '--numeric-owner',
    `--directory=${dirname(folder)}`,
    relative(dirname(folder), folder),
  ];
  const tar = execFileSync('tar', words, { maxBuffer: 1 << 30, env: { ...process.env, LC_ALL: 'C' } });
  // zlib's own output changes with its version; the gzip program is where it was for decades.
  // Its -9 takes twice the time for half a percent.
  writeFileSync(output, execFileSync('gzip', ['-6', '-n'], { input: tar, maxBuffer: 1 << 30 }));
}

/** The same as a zip file, for Windows. */
export function writeZip(output: string, folder: string, epoch: number): void {
  const utc = new Date(epoch * 1000);
  // A zip has local times: use the date whose local time reads like the time in UTC.
  const mtime = new Date(
    utc.getUTCFullYear(),
    utc.getUTCMonth(),
    utc.getUTCDate(),
    utc.getUTCHours(),
    utc.getUTCMinutes(),
    utc.getUTCSeconds(),
  );
  const files = filesBelow(folder).map((file) => [
    relative(dirname(folder), file),
    new Uint8Array(readFileSync(file)),
  ]);
  writeFileSync(output, zipSync(Object.fromEntries(files), { level: 9, mtime }));
}

/** Sets the mode of every file and folder as it is in an archive, independent of the umask. */
export function settleModes(folder: string, executables: readonly string[]): void {
  for (const path of [folder, ...pathsBelow(folder)]) {
    const runs = lstatSync(path).isDirectory() || executables.includes(relative(folder, path));
    chmodSync(path, runs ? 0o755 : 0o644);
  }
}

function filesBelow(folder: string): string[] {
  return pathsBelow(folder).filter((path) => lstatSync(path).isFile());
}

function pathsBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => join(folder, name));
}
