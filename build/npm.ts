/**
 * Makes the npm package: the same parts as the executable's, for the user's own Node.
 *
 *     node build/npm.ts [FOLDER]     a mint-ssh-VERSION.tgz, into dist/ unless told
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { bundle, root } from './bundle.ts';
import { licenceText } from './licences.ts';

const [folder = join(root, 'dist')] = process.argv.slice(2);
const output = resolve(folder);
const scratch = mkdtempSync(join(tmpdir(), 'mint-npm-'));
try {
  const own = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const [parts, bin] = [join(scratch, 'parts'), join(scratch, 'bin')];
  for (const made of [parts, bin, output]) mkdirSync(made, { recursive: true });
  const bundled = await bundle(parts);
  // A module, so that Node's compile cache applies; start-npm.cjs calls its export as loadPart does.
  for (const name of ['main', 'proxy', 'agent']) {
    const file = join(parts, `${name}.cjs`);
    writeFileSync(join(parts, `${name}.js`), `module.exports = ${readFileSync(file, 'utf8')}`);
    rmSync(file);
  }
  rmSync(join(parts, bundled.main));
  copyFileSync(join(root, 'build/start-npm.cjs'), join(bin, 'start.cjs'));
  copyFileSync(join(root, 'build/start-npm.sh'), join(bin, 'mint-ssh'));
  chmodSync(join(bin, 'mint-ssh'), 0o755);
  for (const text of ['LICENSE', 'README.md']) copyFileSync(join(root, text), join(scratch, text));
  const licences = licenceText(bundled.packages, process.versions.node, '');
  writeFileSync(join(scratch, 'THIRD-PARTY-LICENSES.txt'), licences);
  const { name, version, description, license } = own;
  const manifest = {
    ...{ name, version, description, license },
    bin: { 'mint-ssh': 'bin/mint-ssh' },
    engines: { node: '>=22.14' },
    os: ['linux', 'darwin'],
  };
  writeFileSync(join(scratch, 'package.json'), `${JSON.stringify(manifest, undefined, 2)}\n`);
  execFileSync('npm', ['pack', '--silent', '--pack-destination', output], { cwd: scratch, stdio: 'inherit' });
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
