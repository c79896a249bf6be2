/** EC2: which instances there are, what a machine printed as it booted, and starting a stopped one. */
import { isIP } from 'node:net';
import type { DescribeInstancesCommandInput, EC2Client, Filter, Instance } from './ec2-sdk.ts';
import { nameFilters, ownerFilter, sameName } from './name-filter.ts';
import type {
  ConsoleOutput,
  DescribeVmsRequest,
  ImageDescription,
  ImagesRequest,
  InstanceRequest,
  InstanceState,
  StartReply,
  VmDescription,
} from './protocol.ts';
import { type Call, prepare, rememberEndpoint, type Session } from './session.ts';

/** What GetConsoleOutput promises to stay under. */
const consoleBytes = 64 * 1024;

/** A terminated instance stays visible for an hour, and is nobody's VM any more. */
const living: Filter = {
  Name: 'instance-state-name',
  Values: ['pending', 'running', 'stopping', 'stopped'],
};

/** One question to DescribeInstances, and which of its answers count. */
interface Question {
  readonly input: DescribeInstancesCommandInput;
  readonly counts: (vm: VmDescription) => boolean;
}

const clients = new WeakMap<Call['warm'], EC2Client>();

/** All pages of what was asked for, each instance once. Throws a MintError, in `milliseconds` at the latest. */
export async function describeVms(
  session: Session,
  request: DescribeVmsRequest,
  milliseconds: number,
): Promise<VmDescription[]> {
  const [instanceId] = request.ids?.length === 1 ? request.ids : [];
  const target = instanceId === undefined ? request : { ...request, instanceId };
  return await session.call('ec2:DescribeInstances', target, milliseconds, async (call) => {
    const answers = await Promise.all(questions(request).map((question) => ask(call, question)));
    return [...new Map(answers.flat().map((vm) => [vm.instanceId, vm])).values()];
  });
}

/**
 * What the images are called and who owns them (DescribeImages). The IDs are a filter and not `ImageIds`: EC2 answers a
 * list with an unknown ID by an error for all of them.
 */
export async function images(
  session: Session,
  request: ImagesRequest,
  milliseconds: number,
): Promise<ImageDescription[]> {
  return await session.call('ec2:DescribeImages', request, milliseconds, async (call) => {
    const { DescribeImagesCommand } = await import('./ec2-sdk.ts');
    const client = await clientOf(call);
    const command = new DescribeImagesCommand({
      Filters: [{ Name: 'image-id', Values: [...request.ids] }],
      // A deprecated image still says which user it has.
      IncludeDeprecated: true,
    });
    command.middlewareStack.add(...rememberEndpoint(call.attempt));
    const answer = await client.send(command, { abortSignal: call.signal });
    return (answer.Images ?? []).map((image) => ({
      id: image.ImageId ?? '',
      ...present({
        name: image.Name,
        description: image.Description,
        owner: image.OwnerId,
        platform: image.PlatformDetails,
      }),
    }));
  });
}

/** What the instance's console showed at its last boot (GetConsoleOutput). */
export async function consoleOutput(
  session: Session,
  request: InstanceRequest,
  milliseconds: number,
): Promise<ConsoleOutput> {
  return await session.call('ec2:GetConsoleOutput', request, milliseconds, async (call) => {
    const { GetConsoleOutputCommand } = await import('./ec2-sdk.ts');
    const client = await clientOf(call);
    const command = new GetConsoleOutputCommand({ InstanceId: request.instanceId });
    command.middlewareStack.add(...rememberEndpoint(call.attempt));
    const answer = await client.send(command, { abortSignal: call.signal });
    const bytes = Buffer.from(answer.Output ?? '', 'base64').subarray(0, consoleBytes);
    const text = new TextDecoder().decode(bytes);
    return answer.Timestamp === undefined ? { text } : { text, at: answer.Timestamp.toISOString() };
  });
}

/** Asks for a stopped instance to be started (StartInstances); one that runs stays as it is. */
export async function startInstance(
  session: Session,
  request: InstanceRequest,
  milliseconds: number,
): Promise<StartReply> {
  return await session.call('ec2:StartInstances', request, milliseconds, async (call) => {
    const { StartInstancesCommand } = await import('./ec2-sdk.ts');
    const client = await clientOf(call);
    const command = new StartInstancesCommand({ InstanceIds: [request.instanceId] });
    command.middlewareStack.add(...rememberEndpoint(call.attempt));
    const answer = await client.send(command, { abortSignal: call.signal });
    return { state: answer.StartingInstances?.[0]?.CurrentState?.Name };
  });
}

/** The EC2 client of the call's target. @throws what the credential chain throws */
export async function clientOf(call: Call): Promise<EC2Client> {
  await prepare(call);
  const { warm } = call;
  const found = clients.get(warm);
  if (found !== undefined) return found;
  const { EC2Client } = await import('./ec2-sdk.ts');
  const { region, credentials } = warm.client.config;
  const client = new EC2Client({ ...warm.options, region, credentials });
  clients.set(warm, client);
  return client;
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

async function ask(call: Call, { input, counts }: Question): Promise<VmDescription[]> {
  const { DescribeInstancesCommand } = await import('./ec2-sdk.ts');
  const client = await clientOf(call);
  const found: VmDescription[] = [];
  let token: string | undefined;
  do {
    call.signal.throwIfAborted();
    // EC2 takes no page size where instances are named.
    const page = input.InstanceIds === undefined ? { MaxResults: 1000, NextToken: token } : {};
    const command = new DescribeInstancesCommand({ ...input, ...page });
    command.middlewareStack.add(...rememberEndpoint(call.attempt));
    const answer = await client.send(command, { abortSignal: call.signal });
    for (const { OwnerId = '', Instances = [] } of answer.Reservations ?? []) {
      for (const instance of Instances) found.push(description(instance, OwnerId, call.attempt.region ?? ''));
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

/** What is no address is left out: it will be dialed. */
function address(text: string | undefined): string | undefined {
  return text !== undefined && isIP(text) !== 0 ? text : undefined;
}

function present<T extends Record<string, string | undefined>>(all: T): { [K in keyof T]?: string } {
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: string;
  };
}
