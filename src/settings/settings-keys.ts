import { isIP } from 'node:net';
import { system } from '../platform/system/system.ts';
import { isRegion } from './region.ts';
import type { TomlValue } from './toml.ts';
import { instancePattern } from './vm-name.ts';

/** The valid values of one key of `ssh.toml`. */
export interface KeyRule {
  /** Continues a message after "must be". */
  readonly wants: string;
  readonly accepts: (value: TomlValue) => boolean;
  /** `top`: for all VMs only; `vm`: for one VM only. */
  readonly scope: 'any' | 'top' | 'vm';
}

const duration = text(/^[1-9]\d{0,5}[smhd]$/);
const path = text(system.pathForm);

/** All keys of `ssh.toml`. */
export const settingsKeys: Readonly<Record<string, KeyRule>> = {
  user: {
    wants: 'a user name of the VM: 1 to 32 letters, digits, dots, underscores and hyphens',
    accepts: text(/^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,31}$/),
    scope: 'any',
  },
  port: {
    wants: 'a whole number from 1 to 65535',
    accepts: (value) => Number.isInteger(value) && Number(value) >= 1 && Number(value) <= 65_535,
    scope: 'any',
  },
  region: {
    wants: 'an AWS region such as "us-east-1"',
    accepts: (value) => typeof value === 'string' && isRegion(value),
    scope: 'any',
  },
  profile: {
    wants: 'the name of an AWS profile: 1 to 128 printable characters',
    accepts: text(/^[^\p{C}\p{Zl}\p{Zp}]{1,128}$/u),
    scope: 'any',
  },
  route: {
    wants: '"public", "private", "endpoint" or "auto"',
    accepts: oneOf('public', 'private', 'endpoint', 'auto'),
    scope: 'any',
  },
  via: {
    wants: 'the name of another host in your ssh config, such as "bastion" or "user@bastion"',
    accepts: text(/^(?:[a-zA-Z0-9_][\w.-]{0,63}@)?[a-zA-Z0-9_][\w.-]{0,252}$/),
    scope: 'any',
  },
  verify: {
    wants: '"console" or "tofu"',
    accepts: oneOf('console', 'tofu'),
    scope: 'any',
  },
  accept_changed: {
    wants: '"ask" or "console"',
    accepts: oneOf('ask', 'console'),
    scope: 'any',
  },
  require_binding: {
    wants: 'true or false',
    accepts: (value) => typeof value === 'boolean',
    scope: 'any',
  },
  key_type: {
    wants: '"ed25519" or "rsa-3072"',
    accepts: oneOf('ed25519', 'rsa-3072'),
    scope: 'any',
  },
  start: {
    wants: '"ask", "always" or "never"',
    accepts: oneOf('ask', 'always', 'never'),
    scope: 'any',
  },
  multiplex: {
    wants: 'a time such as "10m", at most 365 days, or "none"',
    accepts: (value) => value === 'none' || (duration(value) && seconds(String(value)) <= 365 * 86_400),
    scope: 'any',
  },
  preferred_authentications: {
    wants: 'a list of methods such as "publickey"',
    accepts: text(/^[a-z][a-z-]{0,63}(?:,[a-z][a-z-]{0,63}){0,15}$/),
    scope: 'any',
  },
  upstream_agent: {
    wants: 'an absolute path, or one that starts with "~/"',
    accepts: path,
    scope: 'any',
  },
  key_lifetime: { wants: 'a time such as "1h"', accepts: duration, scope: 'any' },
  run_dir: {
    wants: 'an absolute path, or one that starts with "~/"',
    accepts: path,
    scope: 'top',
  },
  instance: {
    wants: 'an instance id such as "i-0123456789abcdef0"',
    accepts: text(instancePattern),
    scope: 'vm',
  },
  host: {
    wants: 'an IP address or a host name',
    accepts: (value) => typeof value === 'string' && (isIP(value) !== 0 || isHostName(value)),
    scope: 'vm',
  },
  access: {
    wants: '"instance-connect", "key:<profile>" or "injected"',
    accepts: text(/^(?:instance-connect|injected|key:[^\p{C}\p{Z}/]{1,128})$/u),
    scope: 'vm',
  },
  identity: {
    wants: 'the path of a public key: absolute, or one that starts with "~/"',
    accepts: path,
    scope: 'vm',
  },
};

const label = '[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?';
const hostName = new RegExp(`^${label}(?:\\.${label})*\\.?$`, 'i');

/** RFC 1123, plus the underscore, which private zones use. */
function isHostName(name: string): boolean {
  return name.length <= 253 && hostName.test(name);
}

/** Whether a duration is at most 365 days. OpenSSH refuses a config with a time that does not fit in an int. */
function seconds(time: string): number {
  const unit = { s: 1, m: 60, h: 3600, d: 86_400 }[time.slice(-1)] ?? Number.NaN;
  return Number(time.slice(0, -1)) * unit;
}

function text(pattern: RegExp): (value: TomlValue) => boolean {
  return (value) => typeof value === 'string' && pattern.test(value);
}

function oneOf(...words: readonly string[]): (value: TomlValue) => boolean {
  return (value) => typeof value === 'string' && words.includes(value);
}
