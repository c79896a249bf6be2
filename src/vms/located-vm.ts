/** A VM as EC2 returned it last: the instance that a name refers to, and its addresses. */
import { isIP } from 'node:net';
import type { VmDescription } from '../aws/requests.ts';
import { instancePattern } from '../settings/vm-name.ts';
import { imageUsers } from './image-user.ts';

/** How the name led to the instance: by Mint's own tag, by the `Name` tag, or by an instance id. */
export const findings = ['tag', 'name-tag', 'id'] as const;
export type Finding = (typeof findings)[number];

export const states = ['pending', 'running', 'shutting-down', 'terminated', 'stopping', 'stopped'] as const;
export type State = (typeof states)[number];

export interface LocatedVm {
  /** In lower case, as the person says it. */
  readonly name: string;
  /** As the tag has it, where that differs from the name in case. */
  readonly spelling?: string | undefined;
  readonly found: Finding;
  readonly instance: string;
  readonly state: State;
  readonly account: string;
  readonly region: string;
  readonly owner?: string | undefined;
  /** Mint's `mint:bootstrap` tag. */
  readonly bootstrap?: string | undefined;
  /** IP addresses. */
  readonly publicAddress?: string | undefined;
  readonly privateAddress?: string | undefined;
  readonly ipv6?: string | undefined;
  readonly vpc?: string | undefined;
  readonly subnet?: string | undefined;
  /** The availability zone. */
  readonly zone?: string | undefined;
  /** Of the key pair that it was launched with. */
  readonly keyName?: string | undefined;
  /** Whether Mint tagged the instance; then it has Mint's user and port. */
  readonly isMint?: boolean | undefined;
  /** The image it was launched from. */
  readonly image?: string | undefined;
  /** The user that images of its kind come with; undefined where the image does not tell. */
  readonly user?: string | undefined;
  /** Other instances with the same name: this one is pinned, and was chosen for that. */
  readonly namesakes?: readonly string[] | undefined;
  /** When EC2 said so, in milliseconds since 1970. */
  readonly seenAt: number;
}

/** Tags are what their authors wrote: what is kept of them is cut. */
const tagLength = 256;

export function located(name: string, found: Finding, vm: VmDescription): LocatedVm {
  const { instanceId: instance, state, account, region, publicAddress, privateAddress, ipv6 } = vm;
  return {
    name,
    spelling: spellingOf(name, found === 'tag' ? vm.name : found === 'name-tag' ? vm.nameTag : undefined),
    found,
    instance,
    state,
    account,
    region,
    owner: vm.owner?.slice(0, tagLength),
    bootstrap: vm.bootstrap?.slice(0, tagLength),
    publicAddress,
    privateAddress,
    ipv6,
    vpc: identifier('vpc', vm.vpc),
    subnet: identifier('subnet', vm.subnet),
    zone: zone(vm.availabilityZone),
    keyName: vm.keyName?.slice(0, tagLength),
    isMint: vm.isMint === true,
    image: imageId(vm.image),
    seenAt: Date.now(),
  };
}

/** A tag may be any text: what is not the name in another case does not become a pattern of ssh_config. */
function spellingOf(name: string, tag: string | undefined): string | undefined {
  if (tag === undefined || tag === name || !/^[A-Za-z0-9._-]+$/.test(tag)) return undefined;
  return tag.toLowerCase() === name ? tag : undefined;
}

function instancesIn(value: unknown): readonly string[] | undefined {
  if (!Array.isArray(value)) return undefined;
  return value.filter((each): each is string => typeof each === 'string' && instancePattern.test(each));
}

function imageId(text: string | undefined): string | undefined {
  return text !== undefined && /^ami-[0-9a-f]{1,40}$/.test(text) ? text : undefined;
}

/** They go into a command that a message proposes: what AWS would never write is not passed on. */
function identifier(kind: 'vpc' | 'subnet', text: string | undefined): string | undefined {
  return text !== undefined && new RegExp(`^${kind}-[0-9a-f]{1,40}$`).test(text) ? text : undefined;
}

function zone(text: string | undefined): string | undefined {
  return text !== undefined && /^[a-z0-9-]{1,40}$/.test(text) ? text : undefined;
}

/** The inverse of what JSON made of a `LocatedVm`; undefined for anything else. */
export function parseLocatedVm(name: string, value: unknown): LocatedVm | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = value as Readonly<Record<string, unknown>>;
  const text = (key: string) => {
    const field = fields[key];
    return typeof field === 'string' && field.length <= tagLength ? field : undefined;
  };
  const address = (key: string) => {
    const field = text(key);
    return field !== undefined && isIP(field) !== 0 ? field : undefined;
  };
  const found = findings.find((known) => known === fields['found']);
  const state = states.find((known) => known === fields['state']);
  const [instance, account, region] = [text('instance'), text('account'), text('region')];
  const seenAt = fields['seenAt'];
  if (found === undefined || state === undefined || account === undefined || region === undefined)
    return undefined;
  if (instance === undefined || !instancePattern.test(instance) || typeof seenAt !== 'number')
    return undefined;
  return {
    name,
    spelling: spellingOf(name, text('spelling')),
    found,
    instance,
    state,
    account,
    region,
    owner: text('owner'),
    bootstrap: text('bootstrap'),
    publicAddress: address('publicAddress'),
    privateAddress: address('privateAddress'),
    ipv6: address('ipv6'),
    vpc: identifier('vpc', text('vpc')),
    subnet: identifier('subnet', text('subnet')),
    zone: zone(text('zone')),
    keyName: text('keyName'),
    isMint: fields['isMint'] === true,
    image: imageId(text('image')),
    user: imageUsers.find((user) => user === fields['user']),
    namesakes: instancesIn(fields['namesakes']),
    seenAt,
  };
}
