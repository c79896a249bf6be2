/** Finds the keys that CloudWorkstation and Prism left in ~/.ssh, by their file names. */

/** A key and its files. */
export interface OlderKey {
  /** The file name without its ending, which is also the key's name in EC2. */
  readonly name: string;
  readonly profile: string;
  readonly region: string | undefined;
  readonly privateFiles: readonly string[];
  readonly publicFiles: readonly string[];
}

/** Such as `cws-research-us-west-2`, with `.pem`, `.pub` or both. */
const fileForm = /^((?:cws|prism)-.+?)(\.pem)?(\.pub)?$/;
/** Three parts in `us-gov-west-1`, `us-iso-east-1`, `eusc-de-east-1`: never a profile's last word for a partition. */
const regionForm =
  '(?:[a-z]{2}(?:-gov|-iso[a-z]?)?|eusc-[a-z]{2})-(?:central|north|south|east|west|(?:north|south)(?:east|west))-\\d{1,2}';
/** The longest region after the shortest profile. Some versions wrote `-key` in place of the region, or after it. */
const nameForm = new RegExp(`^(?:cws|prism)-(.+?)(?:-(${regionForm}))?(?:-key)?$`);

/** The keys among the file names of a directory, each once, in the order of the names. */
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
