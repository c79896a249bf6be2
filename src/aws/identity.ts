/** Who the caller is to AWS, and to Mint. */
import type { STSClient } from './ec2-sdk.ts';
import type { Identity, Target } from './protocol.ts';
import { type Call, prepare, rememberEndpoint, type Session } from './session.ts';

const clients = new WeakMap<Call['warm'], STSClient>();

/** GetCallerIdentity, which needs no permission. Throws a MintError, in `milliseconds` at the latest. */
export async function identity(session: Session, target: Target, milliseconds: number): Promise<Identity> {
  return await session.call('sts:GetCallerIdentity', target, milliseconds, async (call) => {
    const { GetCallerIdentityCommand, STSClient } = await import('./ec2-sdk.ts');
    await prepare(call);
    const { region, credentials } = call.warm.client.config;
    const client = clients.get(call.warm) ?? new STSClient({ ...call.warm.options, region, credentials });
    clients.set(call.warm, client);
    const command = new GetCallerIdentityCommand({});
    command.middlewareStack.add(...rememberEndpoint(call.attempt));
    const { Account, Arn } = await client.send(command, { abortSignal: call.signal });
    if (Account === undefined || Arn === undefined) throw new Error('AWS did not say who the caller is');
    return { account: Account, arn: Arn, owner: ownerOf(Arn) };
  });
}

/** Mint's `mint:owner` for a caller: the ARN's last word, an address without its domain, made fit for a tag. */
export function ownerOf(arn: string): string {
  const [name = ''] = (arn.split('/').at(-1) ?? '').split('@');
  return name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '');
}
