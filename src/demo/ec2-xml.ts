/**
 * The Query protocol of EC2 and STS: form fields in, XML out.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html
 */
import type { CloudAnswer, CloudRequest } from './cloud-service.ts';
import { type WireFailure, type WireFailureName, wireFailure } from './wire-failure.ts';

/** A list becomes `<item>` elements, as in EC2's answers. Undefined values are left out. */
export type Xml = string | number | boolean | undefined | readonly Xml[] | { readonly [name: string]: Xml };

export const declaration = '<?xml version="1.0" encoding="UTF-8"?>\n';

/** @returns the elements for `value`, in its order */
export function elements(value: Xml): string {
  if (value === undefined) return '';
  if (typeof value !== 'object') return escaped(String(value));
  if (Array.isArray(value)) return value.map((one) => `<item>${elements(one)}</item>`).join('');
  return Object.entries(value)
    .filter(([, one]) => one !== undefined)
    .map(([name, one]) => `<${name}>${elements(one)}</${name}>`)
    .join('');
}

/** @param body elements without the XML declaration */
export function xmlAnswer(status: number, body: string): CloudAnswer {
  return { status, contentType: 'text/xml;charset=UTF-8', body: declaration + body };
}

/** XML 1.0 cannot represent most control characters, so they become a replacement character. */
function escaped(text: string): string {
  return (
    text
      .replaceAll('&', '&amp;')
      .replaceAll('<', '&lt;')
      .replaceAll('>', '&gt;')
      .replaceAll('\r', '&#xD;')
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what XML cannot hold
      .replace(/[\0-\x08\x0b\x0c\x0e-\x1f]/g, '\ufffd')
  );
}

/** @returns the form fields of a request to the service with this API version, else undefined */
export function queryForm(request: CloudRequest, version: string): URLSearchParams | undefined {
  const type = request.headers['content-type'] ?? '';
  if (request.method !== 'POST' || !type.startsWith('application/x-www-form-urlencoded')) return undefined;
  const form = new URLSearchParams(request.body.toString('utf8'));
  return form.get('Version') === version && form.has('Action') ? form : undefined;
}

/** @returns the values of `InstanceId.1`, `InstanceId.2`, … in order */
export function listed(form: URLSearchParams, name: string): string[] {
  const values: string[] = [];
  for (let at = 1; form.has(`${name}.${at}`); at++) values.push(form.get(`${name}.${at}`) ?? '');
  return values;
}

/** Translates a failure from the JSON services' names to those of a Query service. */
export function translated(
  failure: WireFailure,
  names: Readonly<Partial<Record<WireFailureName, WireFailureName>>>,
): WireFailure {
  const name = names[failure.failure];
  return name === undefined ? failure : wireFailure(name, failure.message);
}

/** @returns whether an operation returned a failure instead of an answer */
export function isFailure(outcome: unknown): outcome is WireFailure {
  return typeof outcome === 'object' && outcome !== null && 'failure' in outcome;
}
