/** The bill of materials: npm's CycloneDX one, without what differs between two runs. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './bundle.ts';

interface Bom {
  serialNumber?: string;
  metadata: { timestamp?: string; component: { name: string } };
  components: { 'bom-ref': string }[];
  dependencies: { ref: string; dependsOn?: string[] }[];
}

interface Lock {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean; devDependencies?: unknown }>>;
}

/**
 * What package-lock.json pins, without what only building and testing needs. `npm sbom --omit dev` would leave out a
 * package that the program and a devDependency share, so npm is given a lock without the devDependencies.
 *
 * @param epoch seconds since 1970
 */
export function billOfMaterials(epoch: number): string {
  const folder = mkdtempSync(join(tmpdir(), 'mint-sbom-'));
  let text: string;
  try {
    const [manifest, lock] = ['package.json', 'package-lock.json'].map((name) =>
      JSON.parse(readFileSync(join(root, name), 'utf8')),
    ) as [{ devDependencies?: unknown }, Lock];
    delete manifest.devDependencies;
    delete lock.packages['']?.devDependencies;
    const packages = Object.fromEntries(Object.entries(lock.packages).filter(([, { dev }]) => dev !== true));
    writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
    writeFileSync(join(folder, 'package-lock.json'), JSON.stringify({ ...lock, packages }));
    const words = ['sbom', '--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--package-lock-only'];
    text = execFileSync('npm', words, { cwd: folder, encoding: 'utf8', maxBuffer: 64 << 20 });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const bom = JSON.parse(text) as Bom;
  delete bom.serialNumber;
  // npm names it after its folder.
  bom.metadata.component.name = 'mint-ssh';
  bom.metadata.timestamp = new Date(epoch * 1000).toISOString();
  bom.components.sort((one, other) => order(one['bom-ref'], other['bom-ref']));
  for (const { dependsOn } of bom.dependencies) dependsOn?.sort(order);
  bom.dependencies.sort((one, other) => order(one.ref, other.ref));
  const serialNumber = `urn:uuid:${uuidOf(JSON.stringify(bom))}`;
  return `${JSON.stringify({ ...bom, serialNumber }, undefined, 2)}\n`;
}

/** RFC 9562 §5.8: a UUID of the content's own, so that equal bills have equal numbers. */
function uuidOf(content: string): string {
  const bytes = createHash('sha256').update(content).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

function order(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
