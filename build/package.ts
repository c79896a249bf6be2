/**
 * Makes everything a release has, for every platform it is for, on one Linux x64 machine:
 *
 *     npm run package [-- [--target linux-x64]… [--no-debian] [--output FOLDER]]     into dist/release/ unless told
 *
 * The same commit gives the same bytes, in any folder; times are SOURCE_DATE_EPOCH's, else the commit's.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { version } from '../src/version.ts';
import { settleModes, writeTarGz, writeZip } from './archive.ts';
import { type Bundle, bundle, root } from './bundle.ts';
import { writeDebian } from './debian.ts';
import { makeBlob, makeExecutable } from './executable.ts';
import { licenceText } from './licences.ts';
import { blobMaker, type Format, host, nodeFor, targets } from './node-builds.ts';
import { billOfMaterials } from './sbom.ts';
import { writeTexts } from './texts.ts';

const { values } = parseArgs({
  options: {
    target: { type: 'string', multiple: true },
    'no-debian': { type: 'boolean' },
    output: { type: 'string' },
  },
});
const names = values.target ?? Object.keys(targets);
const output = resolve(values.output ?? join(root, 'dist/release'));
if (`${process.platform}-${process.arch}` !== host) throw new Error(`packages are made on ${host}`);
if (values.output === undefined) rmSync(output, { recursive: true, force: true });
mkdirSync(output, { recursive: true });
if (readdirSync(output).length > 0) throw new Error(`${output} is not empty`);
const epoch = sourceDate();
// The Node builds are fetched once for all runs; what is in there is held against its sum each time.
const cache = join(root, 'dist/nodes');

const work = mkdtempSync(join(root, 'dist/package-'));
try {
  const bundled = await bundle(work);
  for (const name of names) {
    const started = performance.now();
    const files = await packageFor(name, bundled);
    const sizes = files.map((file) => `${file} ${megabytes(join(output, file))}`).join(', ');
    print(`${name}: ${sizes}, ${Math.round((performance.now() - started) / 1000)} s`);
  }
  writeFileSync(join(output, `mint-ssh-${version}.cdx.json`), billOfMaterials(epoch));
  copyFileSync(join(root, 'install.sh'), join(output, 'install.sh'));
  chmodSync(join(output, 'install.sh'), 0o755);
  const sums = readdirSync(output)
    .sort()
    .map((file) => `${sha256(join(output, file))}  ${file}\n`);
  writeFileSync(join(output, 'SHA256SUMS'), sums.join(''));
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** Makes a target's archive, and its Debian package where there is one. @returns their names */
async function packageFor(name: string, bundled: Bundle): Promise<string[]> {
  const target = targets[name];
  if (target === undefined) throw new Error(`no target ${name}: ${Object.keys(targets).join(', ')}`);
  const node = nodeFor(target, cache);
  const maker = blobMaker(node.version, cache);
  const title = `mint-ssh-${version}-${name}`;
  const contents = join(work, title);
  mkdirSync(contents);

  const program = target.format === 'pe' ? 'mint-ssh.exe' : 'mint-ssh';
  await makeExecutable(join(contents, program), {
    node: node.binary,
    // A code cache holds for the machine type it was made on.
    blob: makeBlob(bundled, { node: maker.binary, codeCache: name === host }),
    strip: stripFor(target.format, name),
    isSigned: target.format === 'pe',
  });
  await writeTexts(contents);
  for (const file of ['LICENSE', 'README.md']) copyFileSync(join(root, file), join(contents, file));
  // Not every platform's package has the text.
  const nodeLicence = readFileSync(join(maker.folder, 'LICENSE'), 'utf8');
  const licences = licenceText(bundled.packages, node.version, nodeLicence);
  writeFileSync(join(contents, 'THIRD-PARTY-LICENSES.txt'), licences);
  settleModes(contents, [program]);

  const archive = `${title}.${target.format === 'pe' ? 'zip' : 'tar.gz'}`;
  const write = target.format === 'pe' ? writeZip : writeTarGz;
  write(join(output, archive), contents, epoch);
  if (target.debian === undefined || values['no-debian']) return [archive];
  const debian = `mint-ssh_${version}_${target.debian}.deb`;
  const staging = join(work, `debian-${target.debian}`);
  mkdirSync(staging);
  writeDebian(join(output, debian), { contents, staging, version, machine: target.debian, epoch });
  return [archive, debian];
}

/**
 * The program that strips a target's Node. binutils' knows its own machine only; LLVM's reads every ELF. Mach-O
 * and PE are left as they are: their symbols are less than a fifth of the file, and the result cannot be run here.
 */
function stripFor(format: Format, name: string): string | undefined {
  if (format !== 'elf') return undefined;
  const candidates = name === host ? ['strip', 'llvm-strip'] : ['llvm-strip', 'aarch64-linux-gnu-strip'];
  const found = candidates.find((program) => spawnSync(program, ['--version']).status === 0);
  if (found === undefined) print(`${name}: not stripped, there is no ${candidates.join(' or ')}`);
  return found;
}

/** Seconds since 1970 that every file in an archive is dated. */
function sourceDate(): number {
  const given = process.env['SOURCE_DATE_EPOCH'];
  if (given !== undefined && /^\d{1,12}$/.test(given)) return Number(given);
  const commit = spawnSync('git', ['log', '-1', '--format=%ct'], { cwd: root, encoding: 'utf8' });
  // 1980, where zip's times begin: sources without a history.
  return commit.status === 0 ? Number(commit.stdout) : 315_532_800;
}

function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

function megabytes(path: string): string {
  return `${(statSync(path).size / 1e6).toFixed(1)} MB`;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
