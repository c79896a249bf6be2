/** EC2: the end of an instance, now or when it shuts down by itself. */
import { clientOf } from './ec2.ts';
import type { EndReply, EndRequest } from './protocol.ts';
import { rememberEndpoint, type Session } from './session.ts';

/** TerminateInstances or StopInstances; doing it again is no error. Throws a MintError, in `milliseconds` at the latest. */
export async function endInstance(
  session: Session,
  request: EndRequest,
  milliseconds: number,
): Promise<EndReply> {
  const operation = request.how === 'terminate' ? 'ec2:TerminateInstances' : 'ec2:StopInstances';
  return await session.call(operation, request, milliseconds, async (call) => {
    const { StopInstancesCommand, TerminateInstancesCommand } = await import('./ec2-sdk.ts');
    const client = await clientOf(call);
    const InstanceIds = [request.instanceId];
    const options = { abortSignal: call.signal };
    if (request.how === 'terminate') {
      const command = new TerminateInstancesCommand({ InstanceIds });
      command.middlewareStack.add(...rememberEndpoint(call.attempt));
      return { state: (await client.send(command, options)).TerminatingInstances?.[0]?.CurrentState?.Name };
    }
    const command = new StopInstancesCommand({ InstanceIds });
    command.middlewareStack.add(...rememberEndpoint(call.attempt));
    return { state: (await client.send(command, options)).StoppingInstances?.[0]?.CurrentState?.Name };
  });
}

/**
 * What becomes of the instance when it is shut down from inside (ModifyInstanceAttribute). Throws a MintError, in
 * `milliseconds` at the latest.
 */
export async function setShutdown(
  session: Session,
  request: EndRequest,
  milliseconds: number,
): Promise<undefined> {
  return await session.call('ec2:ModifyInstanceAttribute', request, milliseconds, async (call) => {
    const { ModifyInstanceAttributeCommand } = await import('./ec2-sdk.ts');
    const client = await clientOf(call);
    const command = new ModifyInstanceAttributeCommand({
      InstanceId: request.instanceId,
      InstanceInitiatedShutdownBehavior: { Value: request.how },
    });
    command.middlewareStack.add(...rememberEndpoint(call.attempt));
    await client.send(command, { abortSignal: call.signal });
    return undefined;
  });
}
