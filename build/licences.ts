/** The licences of what is bundled, as one text: MIT, BSD, ISC and Apache-2.0 all want theirs passed on. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './bundle.ts';

interface PackageFile {
  readonly name: string;
  readonly version: string;
  readonly license?: string;
  /** As npm had it before 2014. */
  readonly licenses?: readonly { readonly type: string }[];
  readonly author?: string | { readonly name: string };
}

const licenceFile = /^(?:licen[cs]e|copying|notice)(?:[.-].*)?$/i;

/**
 * Packages with one and the same text share it.
 * @param packages folders below the checkout @param nodeLicence what came with the Node binary
 */
export function licenceText(packages: readonly string[], nodeVersion: string, nodeLicence: string): string {
  const holders = new Map<string, string[]>();
  for (const folder of packages) {
    const { name, version, author, ...rest } = JSON.parse(
      readFileSync(join(root, folder, 'package.json'), 'utf8'),
    ) as PackageFile;
    const license = rest.license ?? rest.licenses?.map(({ type }) => type).join(', ') ?? 'licence not named';
    const texts = readdirSync(join(root, folder))
      .filter((file) => licenceFile.test(file))
      .sort()
      .map((file) =>
        readFileSync(join(root, folder, file), 'utf8')
          .replaceAll('\r\n', '\n')
          .trim(),
      );
    const by = typeof author === 'string' ? author : author?.name;
    // A package that names its licence and ships no text of it.
    const text = texts.join('\n\n') || `${license}${by === undefined ? '' : `, by ${by}`}`;
    holders.set(text, [...(holders.get(text) ?? []), `${name} ${version} (${license})`]);
  }
  const sections = [...holders].map(([text, names]) => `${names.sort().join('\n')}\n\n${text}\n`);
  const rule = `\n${'='.repeat(80)}\n\n`;
  return [
    'mint-ssh is one file with Node.js and these packages inside. Their licences:\n',
    ...sections.sort(),
    `Node.js ${nodeVersion}\n\n${nodeLicence.trim()}\n`,
  ].join(rule);
}
