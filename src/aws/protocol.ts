/** What the agent's main thread and an AWS worker say to each other, as structured clones. */
import { type ErrorCode, MintError } from '../errors.ts';

/** Where a call goes and as whom; what is absent comes from the SDK's own chain. */
export interface Target {
  readonly region?: string | undefined;
  readonly profile?: string | undefined;
}

export interface PushRequest extends Target {
  readonly instanceId: string;
  readonly osUser: string;
  /** A bare authorized_keys line: `ssh-ed25519 AAAA…`, no comment, no newline. */
  readonly publicKey: string;
}

export interface PushReply {
  readonly requestId: string;
  /** The AWS account the credentials belong to, where their source says so. */
  readonly account?: string;
}

/**
 * Which instances to describe: those that `names`, `nameTags` or `ids` name, each of these a question of its own.
 * Without any of them: with `all` every instance of the region, else every instance that has Mint's tag.
 */
export interface DescribeVmsRequest extends Target {
  readonly all?: boolean | undefined;
  /** Only instances whose `mint:owner` tag is this; does not count for `nameTags` and `ids`. */
  readonly owner?: string | undefined;
  /** Values of the `mint:vm` tag, in any case: `dev` finds `Dev` as well. */
  readonly names?: readonly string[] | undefined;
  /** Values of the `Name` tag, likewise. */
  readonly nameTags?: readonly string[] | undefined;
  /** Instances by id, terminated ones too. */
  readonly ids?: readonly string[] | undefined;
  /** Names of EC2 key pairs that instances were launched with. */
  readonly keyNames?: readonly string[] | undefined;
}

export type InstanceState = 'pending' | 'running' | 'shutting-down' | 'terminated' | 'stopping' | 'stopped';

/** An instance as EC2 describes it. Tags are what their authors wrote: nothing in them has been checked. */
export interface VmDescription {
  readonly instanceId: string;
  readonly state: InstanceState;
  /** The account the instance belongs to. */
  readonly account: string;
  readonly region: string;
  /** Such as `us-east-1a`. */
  readonly availabilityZone: string;
  /** ISO 8601; a start after a stop is a launch, too. */
  readonly launchTime: string;
  /** The `mint:vm` tag. */
  readonly name?: string;
  /** The `Name` tag. */
  readonly nameTag?: string;
  /** The `mint:owner` tag. */
  readonly owner?: string;
  /** The `mint:bootstrap` tag: `pending`, `complete` or `failed` where Mint wrote it. */
  readonly bootstrap?: string;
  /** IP addresses, in the form a socket takes. */
  readonly publicAddress?: string;
  readonly privateAddress?: string;
  readonly ipv6?: string;
  readonly keyName?: string;
  readonly vpc?: string;
  readonly subnet?: string;
  /** The ID of the image (AMI) it was launched from. */
  readonly image?: string;
  /** Whether Mint tagged it (`mint=true`, or a `mint:vm` tag). */
  readonly isMint?: boolean;
}

/** @property ids at most 200 image IDs */
export interface ImagesRequest extends Target {
  readonly ids: readonly string[];
}

/** An image as EC2 describes it. The texts are what the image's author wrote: nothing in them has been checked. */
export interface ImageDescription {
  readonly id: string;
  readonly name?: string;
  readonly description?: string;
  /** The account that owns the image. */
  readonly owner?: string;
  /** What AWS bills it as, such as `Linux/UNIX`, `Red Hat Enterprise Linux` or `Windows`. */
  readonly platform?: string;
}

export interface InstanceRequest extends Target {
  readonly instanceId: string;
}

/** A tunnel to a port of an instance, through an EC2 Instance Connect Endpoint of its VPC. */
export interface TunnelRequest extends Target {
  readonly vpc: string;
  readonly subnet?: string | undefined;
  /** Such as `us-east-1a`. */
  readonly zone?: string | undefined;
  /** The instance's private IPv4 address. */
  readonly ipv4?: string | undefined;
  readonly ipv6?: string | undefined;
  readonly port: number;
}

export interface TunnelReply {
  /** `eice-` and hexadecimal digits. */
  readonly endpoint: string;
  /** `wss://…`, signed: a secret for a minute. */
  readonly url: string;
  /** How long the tunnel may last. */
  readonly seconds: number;
}

export interface ConsoleOutput {
  /** At most 64 KB; empty while EC2 has nothing. What the machine printed, control characters and all. */
  readonly text: string;
  /** When EC2 took it, ISO 8601. */
  readonly at?: string;
}

export interface StartReply {
  readonly state: InstanceState | undefined;
}

export interface EndRequest extends InstanceRequest {
  readonly how: 'terminate' | 'stop';
}

export interface EndReply {
  readonly state: InstanceState | undefined;
}

/** One call to a DynamoDB table, with the input and the output that the SDK's command of that name has. */
export interface TableCall {
  readonly table: string;
  readonly operation: 'GetItem' | 'PutItem' | 'Scan';
  /** Without the table's name. */
  readonly input: Readonly<Record<string, unknown>>;
}

export interface TableRequest extends Target, TableCall {}

/** `refused`: the condition did not hold. */
export interface TableReply {
  readonly outcome: 'done' | 'refused';
  readonly output: Readonly<Record<string, unknown>>;
}

export interface Identity {
  readonly account: string;
  readonly arn: string;
  /** What Mint writes into `mint:owner` for this caller. */
  readonly owner: string;
}

export interface KeyPairRequest extends Target {
  readonly keyName: string;
}

export interface ImportKeyPairRequest extends KeyPairRequest {
  /** An authorized_keys line: RSA or Ed25519. */
  readonly publicKey: string;
}

/** A key pair as EC2 describes it; empty where it says nothing. Nothing in it has been checked. */
export interface KeyPair {
  readonly fingerprint: string;
  /** An authorized_keys line. */
  readonly publicKey: string;
}

/** `taken`: there is a key pair of that name, which stays as it is. */
export type ImportKeyPairReply = 'imported' | 'taken';

/** What a worker can be asked, and what it gives back. */
export interface Operations {
  readonly warm: { readonly request: Target; readonly reply: undefined };
  readonly push: { readonly request: PushRequest; readonly reply: PushReply };
  readonly describeVms: { readonly request: DescribeVmsRequest; readonly reply: readonly VmDescription[] };
  readonly images: { readonly request: ImagesRequest; readonly reply: readonly ImageDescription[] };
  readonly consoleOutput: { readonly request: InstanceRequest; readonly reply: ConsoleOutput };
  readonly startInstance: { readonly request: InstanceRequest; readonly reply: StartReply };
  readonly endInstance: { readonly request: EndRequest; readonly reply: EndReply };
  readonly setShutdown: { readonly request: EndRequest; readonly reply: undefined };
  readonly table: { readonly request: TableRequest; readonly reply: TableReply };
  readonly identity: { readonly request: Target; readonly reply: Identity };
  readonly keyPair: { readonly request: KeyPairRequest; readonly reply: KeyPair | undefined };
  readonly importKeyPair: { readonly request: ImportKeyPairRequest; readonly reply: ImportKeyPairReply };
  readonly deleteKeyPair: { readonly request: KeyPairRequest; readonly reply: undefined };
  readonly tunnel: { readonly request: TunnelRequest; readonly reply: TunnelReply };
}

export type OperationName = keyof Operations;

/**
 * Milliseconds on the clock that all threads of a process share: a call's time runs while its worker still starts.
 */
export function sharedClock(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** `deadline` is by `sharedClock`. */
export type WorkerRequest = {
  [Name in OperationName]: {
    readonly id: number;
    readonly kind: Name;
    readonly deadline: number;
    readonly request: Operations[Name]['request'];
  };
}[OperationName];

/** A MintError without its cause, which may hold anything and stays in the worker. */
export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string | undefined;
}

export type WorkerReply =
  | { readonly id: number; readonly reply: Operations[OperationName]['reply'] }
  | { readonly id: number; readonly failure: Failure };

/** Packs an error for the way to the main thread. */
export function packFailure(error: MintError): Failure {
  return { code: error.code, message: error.message, hint: error.hint };
}

/** Makes the error anew on the main thread. */
export function unpackFailure(failure: Failure, clean: (text: string) => string): MintError {
  const hint = failure.hint === undefined ? undefined : clean(failure.hint);
  return new MintError(failure.code, clean(failure.message), { hint });
}
