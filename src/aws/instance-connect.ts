/** EC2 Instance Connect: the one call that a person waits for. */
import { SendSSHPublicKeyCommand } from '@aws-sdk/client-ec2-instance-connect';
import type { PushReply, PushRequest, Target } from './protocol.ts';
import { prepare, rememberEndpoint, type Session } from './session.ts';

const operation = 'ec2-instance-connect:SendSSHPublicKey';

/** Resolves region and credentials, so that the push that follows need not; throws as `push` does. */
export async function warm(session: Session, target: Target, milliseconds: number): Promise<undefined> {
  await session.call(operation, target, milliseconds, prepare);
  return undefined;
}

/** Authorises the key for 60 s (SendSSHPublicKey). Throws a MintError, in `milliseconds` at the latest. */
export async function push(session: Session, request: PushRequest, milliseconds: number): Promise<PushReply> {
  return await session.call(operation, request, milliseconds, async (call) => {
    const account = await prepare(call);
    const command = new SendSSHPublicKeyCommand({
      InstanceId: request.instanceId,
      InstanceOSUser: request.osUser,
      SSHPublicKey: request.publicKey,
    });
    const { client } = call.warm;
    command.middlewareStack.add(...rememberEndpoint(call.attempt));
    const answer = await client.send(command, { abortSignal: call.signal });
    if (answer.Success !== true) throw new Error('AWS answered that the key was not accepted');
    const requestId = answer.RequestId ?? answer.$metadata.requestId ?? '';
    return account === undefined ? { requestId } : { requestId, account };
  });
}
