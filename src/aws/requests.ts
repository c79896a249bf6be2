/** What AWS can be asked, and what it answers: plain values that the agent, the proxy and the commands share. */

/** Where a request goes and with which profile; what is missing comes from the caller's environment and AWS files. */
export interface Target {
  readonly region?: string | undefined;
  readonly profile?: string | undefined;
}

/** An access key that requests are signed with, and where it came from. */
export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
  readonly accountId?: string | undefined;
  /** Milliseconds since 1970; undefined where the source names no end. */
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
  /** Undefined where no profile has a part in it. */
  readonly profile: string | undefined;
  /** A credential_process runs, for this profile or for one that it takes its role from. */
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
 * Which instances to describe: those that `names`, `nameTags`, `ids` or `keyNames` select, each of these a question of
 * its own. Without any of them: with `all` every instance of the region, else every instance that has Mint's tag.
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

/** An instance as EC2 describes it. Tags are as their authors wrote them: nothing in them has been checked. */
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

export interface ImagesRequest extends Target {
  /** At most 200 image IDs. */
  readonly ids: readonly string[];
}

/** An image as EC2 describes it. The texts are as the image's author wrote them: nothing in them has been checked. */
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
  /** The `ca_bundle` of the profile: a file. */
  readonly caBundle?: string | undefined;
}

export interface ConsoleOutput {
  /** At most 64 KB; empty while EC2 has nothing. As the machine printed it, control characters included. */
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

/** A key pair as EC2 describes it; empty where it says nothing. Nothing in it has been checked. */
export interface KeyPair {
  readonly fingerprint: string;
  /** An authorized_keys line. */
  readonly publicKey: string;
}

/** `taken`: there is a key pair of that name, which stays as it is. */
export type ImportKeyPairReply = 'imported' | 'taken';
