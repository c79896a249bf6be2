/**
 * Makes the program for this machine: the executable `mint-ssh`, and what is installed beside it.
 *
 *     node build/build.ts [FOLDER]     into dist/ unless told
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { bundle, root } from './bundle.ts';
import { makeBlob, makeExecutable } from './executable.ts';
import { licenceText } from './licences.ts';
import { writeTexts } from './texts.ts';

const [folder = join(root, 'dist')] = process.argv.slice(2);
const dist = resolve(folder);
mkdirSync(dist, { recursive: true });

await writeTexts(dist);
const bundled = await bundle(dist);
copyFileSync(join(root, 'LICENSE'), join(dist, 'LICENSE'));
// Where an unpacked Node has it; that of a distribution has it elsewhere, under its own rules.
const nodeLicence = join(dirname(dirname(realpathSync(process.execPath))), 'LICENSE');
writeFileSync(
  join(dist, 'THIRD-PARTY-LICENSES.txt'),
  licenceText(
    bundled.packages,
    process.versions.node,
    existsSync(nodeLicence) ? readFileSync(nodeLicence, 'utf8') : 'MIT and others: https://nodejs.org',
  ),
);
const blob = makeBlob(bundled, { node: process.execPath, codeCache: true });
const strip = spawnSync('strip', ['--version']).status === 0 ? 'strip' : undefined;
if (strip === undefined)
  process.stderr.write('build: no `strip` here, the executable stays larger than it needs to be\n');
await makeExecutable(join(dist, 'mint-ssh'), { node: process.execPath, blob, strip });
