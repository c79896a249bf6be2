/** The calls to AWS, each with its IAM action. */
import { isIP } from 'node:net';
import type { DescribeInstancesCommandInput, Filter, Instance } from '@aws-sdk/client-ec2';
import { command } from '../cli/shell-command.ts';
import { MintError } from '../errors.ts';
import { type Call, tracked } from './clients.ts';
import { tunnel } from './endpoint.ts';
import type {
  ConsoleOutput,
  DescribeVmsRequest,
  EndReply,
  EndRequest,
  Identity,
  ImageDescription,
  ImagesRequest,
  ImportKeyPairReply,
  ImportKeyPairRequest,
  InstanceRequest,
  InstanceState,
  KeyPair,
  KeyPairRequest,
  PushReply,
  PushRequest,
  StartReply,
  TableReply,
  TableRequest,
  Target,
  TunnelReply,
  TunnelRequest,
  VmDescription,
} from './requests.ts';

export interface Operation<Request, Reply> {
  /** As IAM names it. */
  readonly action: string | ((request: Request) => string);
  readonly run: (call: Call, request: Request) => Promise<Reply>;
}

/** The documented maximum of GetConsoleOutput. */
const maxConsoleBytes = 64 * 1024;

/** Authorizes a public key on an instance for 60 s. */
const push: Operation<PushRequest, PushReply> = {
  action: 'ec2-instance-connect:SendSSHPublicKey',
  async run({ clients, attempt, signal }, { instanceId, osUser, publicKey }) {
    const { SendSSHPublicKeyCommand } = await import('./push-sdk.ts');
    const client = await clients.instanceConnect();
    const input = { InstanceId: instanceId, InstanceOSUser: osUser, SSHPublicKey: publicKey };
    const command = tracked(attempt, new SendSSHPublicKeyCommand(input));
    const answer = await client.send(command, { abortSignal: signal });
    if (answer.Success !== true) throw new Error('AWS answered that the key was not accepted');
    return { requestId: answer.RequestId ?? answer.$metadata.requestId ?? '' };
  },
};

/** The instances that the request selects, from all pages, each once. */
const describeVms: Operation<DescribeVmsRequest, readonly VmDescription[]> = {
  action: 'ec2:DescribeInstances',
  async run(call, request) {
    const answers = await Promise.all(questions(request).map((question) => ask(call, question)));
    return [...new Map(answers.flat().map((vm) => [vm.instanceId, vm])).values()];
  },
};

/**
 * Names and owners of images. An image that does not exist or is not shared with the caller is left out. The IDs are a
 * filter and not `ImageIds`, because EC2 returns an error for the whole list if one ID is unknown.
 */
const images: Operation<ImagesRequest, readonly ImageDescription[]> = {
  action: 'ec2:DescribeImages',
  async run({ clients, attempt, signal }, { ids }) {
    const { DescribeImagesCommand } = await import('./ec2-sdk.ts');
    const client = await clients.ec2();
    // A deprecated image still shows which user it has.
    const input = { Filters: [{ Name: 'image-id', Values: [...ids] }], IncludeDeprecated: true };
    const answer = await client.send(tracked(attempt, new DescribeImagesCommand(input)), {
      abortSignal: signal,
    });
    return (answer.Images ?? []).map((image) => ({
      id: image.ImageId ?? '',
      ...present({
        name: image.Name,
        description: image.Description,
        owner: image.OwnerId,
        platform: image.PlatformDetails,
      }),
    }));
  },
};

/** The console output of the instance's last boot. */
const consoleOutput: Operation<InstanceRequest, ConsoleOutput> = {
  action: 'ec2:GetConsoleOutput',
  async run({ clients, attempt, signal }, { instanceId }) {
    const { GetConsoleOutputCommand } = await import('./ec2-sdk.ts');
    const client = await clients.ec2();
    const command = tracked(attempt, new GetConsoleOutputCommand({ InstanceId: instanceId }));
    const answer = await client.send(command, { abortSignal: signal });
    const bytes = Buffer.from(answer.Output ?? '', 'base64').subarray(0, maxConsoleBytes);
    const text = new TextDecoder().decode(bytes);
    return answer.Timestamp === undefined ? { text } : { text, at: answer.Timestamp.toISOString() };
  },
};

/** Asks for a stopped instance to be started; a running one stays as it is. `describeVms` shows when it runs. */
const startInstance: Operation<InstanceRequest, StartReply> = {
  action: 'ec2:StartInstances',
  async run({ clients, attempt, signal }, { instanceId }) {
    const { StartInstancesCommand } = await import('./ec2-sdk.ts');
    const client = await clients.ec2();
    const command = tracked(attempt, new StartInstancesCommand({ InstanceIds: [instanceId] }));
    const answer = await client.send(command, { abortSignal: signal });
    return { state: answer.StartingInstances?.[0]?.CurrentState?.Name };
  },
};

/** Terminates or stops an instance; a second time is not an error. */
const endInstance: Operation<EndRequest, EndReply> = {
  action: ({ how }) => (how === 'terminate' ? 'ec2:TerminateInstances' : 'ec2:StopInstances'),
  async run({ clients, attempt, signal }, { instanceId, how }) {
    const { StopInstancesCommand, TerminateInstancesCommand } = await import('./ec2-sdk.ts');
    const client = await clients.ec2();
    const InstanceIds = [instanceId];
    if (how === 'terminate') {
      const command = tracked(attempt, new TerminateInstancesCommand({ InstanceIds }));
      const answer = await client.send(command, { abortSignal: signal });
      return { state: answer.TerminatingInstances?.[0]?.CurrentState?.Name };
    }
    const command = tracked(attempt, new StopInstancesCommand({ InstanceIds }));
    const answer = await client.send(command, { abortSignal: signal });
    return { state: answer.StoppingInstances?.[0]?.CurrentState?.Name };
  },
};

/** Sets whether an instance that is shut down from inside stops or terminates. */
const setShutdown: Operation<EndRequest, undefined> = {
  action: 'ec2:ModifyInstanceAttribute',
  async run({ clients, attempt, signal }, { instanceId, how }) {
    const { ModifyInstanceAttributeCommand } = await import('./ec2-sdk.ts');
    const client = await clients.ec2();
    const input = { InstanceId: instanceId, InstanceInitiatedShutdownBehavior: { Value: how } };
    const command = tracked(attempt, new ModifyInstanceAttributeCommand(input));
    await client.send(command, { abortSignal: signal });
    return undefined;
  },
};

/** The caller's identity; needs no permission. */
const identity: Operation<Target, Identity> = {
  action: 'sts:GetCallerIdentity',
  async run({ clients, attempt, signal }) {
    const { GetCallerIdentityCommand } = await import('./ec2-sdk.ts');
    const client = await clients.sts();
    const command = tracked(attempt, new GetCallerIdentityCommand({}));
    const { Account, Arn } = await client.send(command, { abortSignal: signal });
    if (Account === undefined || Arn === undefined) throw new Error('AWS did not say who the caller is');
    return { account: Account, arn: Arn, owner: ownerOf(Arn) };
  },
};

/** The key pair of a name in a region; undefined if it does not exist. */
const keyPair: Operation<KeyPairRequest, KeyPair | undefined> = {
  action: 'ec2:DescribeKeyPairs',
  async run({ clients, attempt, signal }, { keyName }) {
    const { DescribeKeyPairsCommand } = await import('./ec2-sdk.ts');
    const client = await clients.ec2();
    const input = { KeyNames: [keyName], IncludePublicKey: true };
    const command = tracked(attempt, new DescribeKeyPairsCommand(input));
    try {
      const { KeyPairs = [] } = await client.send(command, { abortSignal: signal });
      const found = KeyPairs.find((pair) => pair.KeyName === keyName);
      if (found === undefined) return undefined;
      return { fingerprint: found.KeyFingerprint ?? '', publicKey: found.PublicKey ?? '' };
    } catch (error) {
      if ((error as Error).name === 'InvalidKeyPair.NotFound') return undefined;
      throw error;
    }
  },
};

/** Imports a public key under this name, unless EC2 already has a key pair of that name. */
const importKeyPair: Operation<ImportKeyPairRequest, ImportKeyPairReply> = {
  action: 'ec2:ImportKeyPair',
  async run({ clients, attempt, signal }, { keyName, publicKey }) {
    const { ImportKeyPairCommand } = await import('./ec2-sdk.ts');
    const client = await clients.ec2();
    const input = { KeyName: keyName, PublicKeyMaterial: Buffer.from(publicKey) };
    const command = tracked(attempt, new ImportKeyPairCommand(input));
    try {
      await client.send(command, { abortSignal: signal });
      return 'imported';
    } catch (error) {
      if ((error as Error).name === 'InvalidKeyPair.Duplicate') return 'taken';
      throw error;
    }
  },
};

/** Removes a key pair; one that does not exist is not an error. */
const deleteKeyPair: Operation<KeyPairRequest, undefined> = {
  action: 'ec2:DeleteKeyPair',
  async run({ clients, attempt, signal }, { keyName }) {
    const { DeleteKeyPairCommand } = await import('./ec2-sdk.ts');
    const client = await clients.ec2();
    const command = tracked(attempt, new DeleteKeyPairCommand({ KeyName: keyName }));
    await client.send(command, { abortSignal: signal });
    return undefined;
  },
};

type TableCommand = new (input: object) => { readonly middlewareStack: unknown };

/** One call to a DynamoDB table; that a condition did not hold is a reply. */
const table: Operation<TableRequest, TableReply> = {
  action: ({ operation }) => `dynamodb:${operation}`,
  async run({ clients, attempt, signal }, { table: name, operation, input }) {
    const sdk = await import('./dynamodb-sdk.ts');
    const client = await clients.dynamoDb();
    // Nine commands have nine types: the caller of `table` decides what each is sent.
    const Command = sdk[`${operation}Command`] as unknown as TableCommand;
    const tableCommand = tracked(attempt, new Command({ TableName: name, ...input }));
    try {
      const output = await client.send(tableCommand as never, { abortSignal: signal });
      return { outcome: 'done', output: { ...Object(output) } };
    } catch (error) {
      const kind = error instanceof Error ? error.name : '';
      if (kind === 'ConditionalCheckFailedException') return { outcome: 'refused', output: {} };
      if (kind !== 'ResourceNotFoundException') throw error;
      throw new MintError('bad-settings', `there is no DynamoDB table ${name} in ${attempt.region}`, {
        hint:
          command`make it once: aws dynamodb create-table --region ${attempt.region} --table-name ${name} --billing-mode ` +
          'PAY_PER_REQUEST --attribute-definitions AttributeName=key,AttributeType=S --key-schema ' +
          'AttributeName=key,KeyType=HASH',
        cause: error,
      });
    }
  },
};

/** The URL that opens a tunnel to an instance. */
const openTunnel: Operation<TunnelRequest, TunnelReply> = {
  action: 'ec2:DescribeInstanceConnectEndpoints',
  run: tunnel,
};

export const operations = {
  push,
  describeVms,
  images,
  consoleOutput,
  startInstance,
  endInstance,
  setShutdown,
  identity,
  keyPair,
  importKeyPair,
  deleteKeyPair,
  table,
  tunnel: openTunnel,
};

/**
 * The `mint:owner` tag of a caller's VMs, by Mint's ADR-0013 and its code.
 *
 * @param arn as GetCallerIdentity returns it: arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE
 * @returns empty if Mint would refuse the ARN: then no VM belongs to the caller
 */
export function ownerOf(arn: string): string {
  // The resource is the rest, colons included. The account itself is `root`.
  const resource = arn.split(':').slice(5).join(':');
  const name = resource.split('/').at(-1) ?? '';
  // An address loses its domain. A name that begins with `@` is not an address.
  const at = name.indexOf('@');
  return (at > 0 ? name.slice(0, at) : name)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '');
}

/** Leaves out terminated instances, which stay visible for an hour. */
const living: Filter = {
  Name: 'instance-state-name',
  Values: ['pending', 'running', 'stopping', 'stopped'],
};

/** One DescribeInstances request, and a filter for its answers. */
interface Question {
  readonly input: DescribeInstancesCommandInput;
  readonly counts: (vm: VmDescription) => boolean;
}

function questions({ all, owner, names, nameTags, ids, keyNames }: DescribeVmsRequest): Question[] {
  const owned = owner === undefined ? [] : [ownerFilter(owner)];
  const asked: Question[] = [];
  if (ids !== undefined && ids.length > 0) {
    asked.push({ input: { InstanceIds: [...ids] }, counts: () => true });
  }
  for (const filter of nameFilters('mint:vm', names ?? [])) {
    asked.push({
      input: { Filters: [living, filter, ...owned] },
      counts: ({ name }) => sameName(name, names ?? []),
    });
  }
  for (const filter of nameFilters('Name', nameTags ?? [])) {
    asked.push({
      input: { Filters: [living, filter] },
      counts: ({ nameTag }) => sameName(nameTag, nameTags ?? []),
    });
  }
  if (keyNames !== undefined && keyNames.length > 0) {
    const filter = { Name: 'key-name', Values: [...keyNames] };
    asked.push({
      input: { Filters: [living, filter] },
      counts: ({ keyName = '' }) => keyNames.includes(keyName),
    });
  }
  const isNamed = [ids, names, nameTags, keyNames].some((list) => list !== undefined);
  if (isNamed) return asked;
  if (all === true) return [{ input: { Filters: [living] }, counts: () => true }];
  return [
    {
      input: { Filters: [living, { Name: 'tag-key', Values: ['mint:vm'] }, ...owned] },
      counts: () => true,
    },
  ];
}

async function ask(
  { clients, attempt, signal }: Call,
  { input, counts }: Question,
): Promise<VmDescription[]> {
  const { DescribeInstancesCommand } = await import('./ec2-sdk.ts');
  const client = await clients.ec2();
  const found: VmDescription[] = [];
  let token: string | undefined;
  do {
    signal.throwIfAborted();
    // EC2 rejects a page size if instances are named.
    const page = input.InstanceIds === undefined ? { MaxResults: 1000, NextToken: token } : {};
    const command = tracked(attempt, new DescribeInstancesCommand({ ...input, ...page }));
    const answer = await client.send(command, { abortSignal: signal });
    for (const { OwnerId = '', Instances = [] } of answer.Reservations ?? []) {
      for (const instance of Instances) found.push(description(instance, OwnerId, attempt.region));
    }
    token = answer.NextToken || undefined;
  } while (token !== undefined);
  return found.filter(counts);
}

function description(instance: Instance, account: string, region: string): VmDescription {
  const tags = new Map(instance.Tags?.map(({ Key, Value }) => [Key, Value]));
  const ipv6 = instance.NetworkInterfaces?.flatMap((one) => one.Ipv6Addresses ?? [])[0]?.Ipv6Address;
  const { State, LaunchTime } = instance;
  return {
    instanceId: instance.InstanceId ?? '',
    state: (State?.Name ?? 'pending') satisfies InstanceState,
    account,
    region,
    availabilityZone: instance.Placement?.AvailabilityZone ?? '',
    launchTime: LaunchTime?.toISOString() ?? '',
    isMint: tags.get('mint') === 'true' || tags.has('mint:vm'),
    ...present({
      name: tags.get('mint:vm'),
      nameTag: tags.get('Name'),
      owner: tags.get('mint:owner'),
      bootstrap: tags.get('mint:bootstrap'),
      publicAddress: address(instance.PublicIpAddress),
      privateAddress: address(instance.PrivateIpAddress),
      ipv6: address(instance.Ipv6Address ?? ipv6),
      keyName: instance.KeyName,
      vpc: instance.VpcId,
      subnet: instance.SubnetId,
      image: instance.ImageId,
    }),
  };
}

/** Leaves out text that is not an address, because it would be dialled. */
function address(text: string | undefined): string | undefined {
  return text !== undefined && isIP(text) !== 0 ? text : undefined;
}

function present<T extends Record<string, string | undefined>>(all: T): { [K in keyof T]?: string } {
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: string;
  };
}

/** The maximum number of values of a filter. */
const maxFilterValues = 200;

/**
 * Filters, one for each request that is necessary, that let each of `names` through in upper and lower case, and more:
 * letters are asked for as `?`, so the answers have to be compared with `sameName`. EC2 compares with case, and knows
 * `*` and `?` with a backslash before a literal one:
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
 */
function nameFilters(tag: string, names: readonly string[]): Filter[] {
  const values = [...new Set(names.map((name) => literal(name).replace(/\p{L}/gu, '?')))];
  const filters: Filter[] = [];
  for (let at = 0; at < values.length; at += maxFilterValues) {
    filters.push({ Name: `tag:${tag}`, Values: values.slice(at, at + maxFilterValues) });
  }
  return filters;
}

/** Whether the tag is one of `names` in any case. */
function sameName(tag: string | undefined, names: readonly string[]): boolean {
  const lower = tag?.toLowerCase();
  return names.some((name) => name.toLowerCase() === lower);
}

function ownerFilter(owner: string): Filter {
  return { Name: 'tag:mint:owner', Values: [literal(owner)] };
}

function literal(text: string): string {
  return text.replace(/[\\*?]/g, '\\$&');
}
