/** The form of an AWS region. AWS adds partitions with new prefixes, so there is no list of prefixes or directions here. */
const form = /^[a-z]{2,8}(?:-[a-z]{1,16}){1,4}-\d{1,2}$/;

/** @returns whether the text has the form of a region: `us-east-1`, `us-gov-west-1`, `us-isob-east-1`, `eusc-de-east-1` */
export function isRegion(text: string): boolean {
  return form.test(text);
}
