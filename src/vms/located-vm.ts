/** A VM as EC2 last returned it: the instance that a name refers to, and its addresses. */
import { isIP } from 'node:net';
import type { VmDescription } from '../aws/requests.ts';
import { instancePattern } from '../settings/vm-name.ts';
import { imageUsers } from './image-user.ts';

/** How the instance was found: by Mint's own tag, by the `Name` tag, or by an instance ID. */
export const findings = ['tag', 'name-tag', 'id'] as const;
export type Finding = (typeof findings)[number];

export const states = ['pending', 'running', 'shutting-down', 'terminated', 'stopping', 'stopped'] as const;
export type State = (typeof states)[number];

export interface LocatedVm {
  /** In lower case. */
  readonly name: string;
  /** The spelling in the tag, if it differs in case. */
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
  /** The EC2 key pair that it was launched with. */
  readonly keyName?: string | undefined;
  /** Whether Mint tagged the instance, so that it has Mint's user and port. */
  readonly isMint?: boolean | undefined;
  /** The image it was launched from. */
  readonly image?: string | undefined;
  /** The usual user of its image; undefined if unknown. */
  readonly user?: string | undefined;
  /** Other instances with the same name. This one was chosen because its host key is pinned. */
  readonly namesakes?: readonly string[] | undefined;
  /** When EC2 returned this, in milliseconds since 1970. */
  readonly seenAt: number;
}

/** Tags can be any text, so they are shortened. */
const tagLength = 256;

/** @returns what is kept of an instance that EC2 described, found under a name in this way */
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

/** Whether EC2 reported the instance as `running`. */
export function isRunning(vm: LocatedVm): boolean {
  return vm.state === 'running';
}

/** @returns what Mint's bootstrap tag means for a user who logs in now; undefined if that is nothing */
export function setupNotice({ name, bootstrap }: LocatedVm): string | undefined {
  if (bootstrap === 'pending')
    return `${name} is still being set up by Mint: tools or files may be missing yet`;
  if (bootstrap === 'failed')
    return `Mint could not set ${name} up to the end: see its bootstrap log, or recreate it`;
  return undefined;
}

/** @returns a notice for the user if other instances have the same name; undefined otherwise */
export function namesakeNotice({ name, instance, namesakes }: LocatedVm): string | undefined {
  if (namesakes === undefined || namesakes.length === 0) return undefined;
  const others = namesakes.join(', ');
  return `${name} is ${instance}, whose host key is pinned; ${others} has the same tag: rename or terminate the instances that you do not need`;
}

/** Only the name in another case may become a pattern of ssh_config, because a tag can be any text. */
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

/** IDs become part of commands in messages, so only IDs in AWS's form are kept. */
function identifier(kind: 'vpc' | 'subnet', text: string | undefined): string | undefined {
  return text !== undefined && new RegExp(`^${kind}-[0-9a-f]{1,40}$`).test(text) ? text : undefined;
}

function zone(text: string | undefined): string | undefined {
  return text !== undefined && /^[a-z0-9-]{1,40}$/.test(text) ? text : undefined;
}

/**
 * @param name the key of the entry in the cache
 * @param value the parsed JSON of a `LocatedVm`
 * @returns undefined if the value is invalid
 */
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
