/** Requests to AWS and its replies: plain values that the agent, the proxy and the commands share. */

/** The region and profile of a request. Missing values come from the caller's environment and AWS files. */
export interface Target {
  readonly region?: string | undefined;
  readonly profile?: string | undefined;
}

/** An access key for signing requests, and its source. */
export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
  readonly accountId?: string | undefined;
  /** Milliseconds since 1970; undefined without an expiry. */
  readonly expiresAt?: number | undefined;
  readonly source: Source;
}

/** Where credentials come from; `chooseSource` decides. */
export interface Source {
  readonly kind:
    | 'environment'
    | 'role'
    | 'web-identity'
    | 'sso'
    | 'credentials-file'
    | 'login'
    | 'process'
    | 'config-file'
    | 'container'
    | 'instance';
  /** Undefined if no profile is involved. */
  readonly profile: string | undefined;
  /** Whether a credential_process runs, for this profile or for its source profile. */
  readonly runsProcess: boolean;
}

export interface PushRequest extends Target {
  readonly instanceId: string;
  readonly osUser: string;
  /** A bare authorized_keys line: `ssh-ed25519 AAAA…`, no comment, no newline. */
  readonly publicKey: string;
}

export interface PushReply {
  readonly requestId: string;
}

/**
 * Selects instances by `names`, `nameTags`, `ids` or `keyNames`, with a separate request for each of these. Without any of
 * them: with `all` every instance of the region, else every instance with Mint's tag.
 */
export interface DescribeVmsRequest extends Target {
  readonly all?: boolean | undefined;
  /** Only instances whose `mint:owner` tag has this value; ignored for `nameTags` and `ids`. */
  readonly owner?: string | undefined;
  /** Values of the `mint:vm` tag, in any case: `dev` finds `Dev` as well. */
  readonly names?: readonly string[] | undefined;
  /** Values of the `Name` tag, in any case. */
  readonly nameTags?: readonly string[] | undefined;
  /** Instances by id, terminated ones too. */
  readonly ids?: readonly string[] | undefined;
  /** Names of EC2 key pairs that instances were launched with. */
  readonly keyNames?: readonly string[] | undefined;
}

export type InstanceState = 'pending' | 'running' | 'shutting-down' | 'terminated' | 'stopping' | 'stopped';

/** An instance as EC2 returns it. Tags are unchecked text of their authors. */
export interface VmDescription {
  readonly instanceId: string;
  readonly state: InstanceState;
  /** The account of the instance. */
  readonly account: string;
  readonly region: string;
  /** Such as `us-east-1a`. */
  readonly availabilityZone: string;
  /** ISO 8601. A start after a stop is also a launch. */
  readonly launchTime: string;
  /** The `mint:vm` tag. */
  readonly name?: string;
  /** The `Name` tag. */
  readonly nameTag?: string;
  /** The `mint:owner` tag. */
  readonly owner?: string;
  /** The `mint:bootstrap` tag: `pending`, `complete` or `failed` if Mint wrote it. */
  readonly bootstrap?: string;
  /** IP addresses. */
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

export interface ImagesRequest extends Target {
  /** At most 200 image IDs. */
  readonly ids: readonly string[];
}

/** An image as EC2 returns it, with unchecked text of its author. */
export interface ImageDescription {
  readonly id: string;
  readonly name?: string;
  readonly description?: string;
  /** The account that owns the image. */
  readonly owner?: string;
  /** Its billing product, such as `Linux/UNIX`, `Red Hat Enterprise Linux` or `Windows`. */
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
  /** `wss://…`, signed: it is secret for a minute. */
  readonly url: string;
  /** The maximum duration of the tunnel. */
  readonly seconds: number;
  /** The `ca_bundle` of the profile: a file. */
  readonly caBundle?: string | undefined;
}

export interface ConsoleOutput {
  /** At most 64 KB; empty while EC2 has no output. It is untrusted text with control characters. */
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

/** One call to a DynamoDB table, with the input and output of the SDK's command of that name. */
export interface TableCall {
  readonly table: string;
  readonly operation: 'GetItem' | 'PutItem' | 'Scan';
  /** Without the table's name. */
  readonly input: Readonly<Record<string, unknown>>;
}

export interface TableRequest extends Target, TableCall {}

/** `refused`: the condition was false. */
export interface TableReply {
  readonly outcome: 'done' | 'refused';
  readonly output: Readonly<Record<string, unknown>>;
}

export interface Identity {
  readonly account: string;
  readonly arn: string;
  /** The value that Mint writes into `mint:owner` for this caller. */
  readonly owner: string;
}

export interface KeyPairRequest extends Target {
  readonly keyName: string;
}

export interface ImportKeyPairRequest extends KeyPairRequest {
  /** An authorized_keys line: RSA or Ed25519. */
  readonly publicKey: string;
}

/** A key pair as EC2 returns it, unchecked; empty texts if EC2 returns none. */
export interface KeyPair {
  readonly fingerprint: string;
  /** An authorized_keys line. */
  readonly publicKey: string;
}

/** `taken`: EC2 already has a key pair of that name, which is not changed. */
export type ImportKeyPairReply = 'imported' | 'taken';
