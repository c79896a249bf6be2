/**
 * Filters of DescribeInstances for tags. EC2 compares with case, and knows `*` and `?` with a backslash before what
 * is meant literally: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
 */

interface TagFilter {
  readonly Name: string;
  readonly Values: string[];
}

/** As many values as one filter may have. */
const mostValues = 200;

/**
 * Filters, one for each request there has to be, that let each of `names` through in upper and lower case, and more:
 * letters are asked for as `?`, so what comes back has to be compared with `sameName`.
 */
export function nameFilters(tag: string, names: readonly string[]): TagFilter[] {
  const values = [...new Set(names.map((name) => literal(name).replace(/\p{L}/gu, '?')))];
  const filters: TagFilter[] = [];
  for (let at = 0; at < values.length; at += mostValues) {
    filters.push({ Name: `tag:${tag}`, Values: values.slice(at, at + mostValues) });
  }
  return filters;
}

/** Whether the tag is one of `names`, case aside. */
export function sameName(tag: string | undefined, names: readonly string[]): boolean {
  const lower = tag?.toLowerCase();
  return names.some((name) => name.toLowerCase() === lower);
}

export function ownerFilter(owner: string): TagFilter {
  return { Name: 'tag:mint:owner', Values: [literal(owner)] };
}

function literal(text: string): string {
  return text.replace(/[\\*?]/g, '\\$&');
}
