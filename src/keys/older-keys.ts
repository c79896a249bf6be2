/** The keys that CloudWorkstation and Prism left in ~/.ssh, by the names of their files. */

/** One key, in whatever files it stands. */
export interface OlderKey {
  /** What it is called without the endings; that is its name in EC2, too. */
  readonly name: string;
  readonly profile: string;
  readonly region: string | undefined;
  readonly privateFiles: readonly string[];
  readonly publicFiles: readonly string[];
}

/** `cws-research-us-west-2`, with `.pem`, with `.pub`, with both. */
const fileForm = /^((?:cws|prism)-.+?)(\.pem)?(\.pub)?$/;
/** Three parts in `us-gov-west-1`, `us-iso-east-1`, `eusc-de-east-1`: never a profile's last word for a partition. */
const regionForm =
  '(?:[a-z]{2}(?:-gov|-iso[a-z]?)?|eusc-[a-z]{2})-(?:central|north|south|east|west|(?:north|south)(?:east|west))-\\d{1,2}';
/** As long a region as there is, behind as short a profile; some wrote `-key` in place of the region, or behind it. */
const nameForm = new RegExp(`^(?:cws|prism)-(.+?)(?:-(${regionForm}))?(?:-key)?$`);

/** Those among the names of a directory's files, each once; in their order. */
export function olderKeys(files: readonly string[]): OlderKey[] {
  const found = new Map<string, { privateFiles: string[]; publicFiles: string[] }>();
  for (const file of files) {
    const [, name, , isPublic] = fileForm.exec(file) ?? [];
    if (name === undefined) continue;
    const key = found.get(name) ?? { privateFiles: [], publicFiles: [] };
    (isPublic === undefined ? key.privateFiles : key.publicFiles).push(file);
    found.set(name, key);
  }
  return [...found].map(([name, key]) => {
    const [, profile = name, region] = nameForm.exec(name) ?? [];
    return { name, profile, region, ...key };
  });
}
