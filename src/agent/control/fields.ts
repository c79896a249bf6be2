/** Readers for the fields of a control message. Each throws MintError `agent-unavailable` on any other value. */
import { MintError } from '../../errors.ts';

export type Fields = Readonly<Record<string, unknown>>;

/** The longest base64 text of a secret, in characters. */
const maxSecretLength = 4096;

export function record(value: unknown): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('not an object');
  return value as Fields;
}

export function text(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== 'string') throw malformed(`${name} is not a string`);
  return value;
}

export function number(fields: Fields, name: string): number {
  const value = fields[name];
  if (typeof value !== 'number' || !Number.isFinite(value)) throw malformed(`${name} is not a number`);
  return value;
}

export function portNumber(fields: Fields, name: string): number {
  const value = number(fields, name);
  if (!Number.isInteger(value) || value < 1 || value > 65_535)
    throw malformed(`${name} is not a port number`);
  return value;
}

/** The value never appears in an error message. */
export function secret(fields: Fields, name: string): Buffer {
  const value = text(fields, name);
  if (value.length > maxSecretLength) throw malformed(`${name} is too long`);
  return Buffer.from(value, 'base64');
}

export function optional<T>(
  fields: Fields,
  name: string,
  read: (fields: Fields, name: string) => T,
): T | undefined {
  return fields[name] === undefined ? undefined : read(fields, name);
}

export function textRecord(value: unknown): Record<string, string> {
  const fields = record(value);
  // The message does not quote the names: the client chose them.
  if (Object.values(fields).some((each) => typeof each !== 'string'))
    throw malformed('a variable is not a string');
  return fields as Record<string, string>;
}

export function malformed(what: string): MintError {
  return new MintError('agent-unavailable', `malformed message on the control socket: ${what}`);
}
