/** What crosses to a worker of each request: these fields, whatever else a caller's object holds. */
import type { OperationName, Operations } from './protocol.ts';

type Fields<Request> = { readonly [Field in keyof Request]-?: true };

const target = { region: true, profile: true } as const;
const instance = { ...target, instanceId: true } as const;
const keyPair = { ...target, keyName: true } as const;

const fields: { readonly [Name in OperationName]: Fields<Operations[Name]['request']> } = {
  warm: target,
  push: { ...instance, osUser: true, publicKey: true },
  describeVms: { ...target, all: true, owner: true, names: true, nameTags: true, ids: true, keyNames: true },
  images: { ...target, ids: true },
  consoleOutput: instance,
  startInstance: instance,
  endInstance: { ...instance, how: true },
  setShutdown: { ...instance, how: true },
  table: { ...target, table: true, operation: true, input: true },
  identity: target,
  keyPair,
  importKeyPair: { ...keyPair, publicKey: true },
  deleteKeyPair: keyPair,
  tunnel: { ...target, vpc: true, subnet: true, zone: true, ipv4: true, ipv6: true, port: true },
};

export function crossing<Name extends OperationName>(
  kind: Name,
  request: Operations[Name]['request'],
): Operations[Name]['request'] {
  const crosses = Object.entries(request).filter(([field]) => Object.hasOwn(fields[kind], field));
  return Object.fromEntries(crosses) as Operations[Name]['request'];
}
