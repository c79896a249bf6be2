/** AWS adds partitions with prefixes of their own, so no list of prefixes or directions is kept here. */
const form = /^[a-z]{2,8}(?:-[a-z]{1,16}){1,4}-\d{1,2}$/;

/** Whether this has the form of an AWS region: `us-east-1`, `us-gov-west-1`, `us-isob-east-1`, `eusc-de-east-1`. */
export function isRegion(text: string): boolean {
  return form.test(text);
}
