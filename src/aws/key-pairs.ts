/** EC2's key pairs: the public keys that it puts on instances as they are launched, by name and region. */
import { clientOf } from './ec2.ts';
import type { ImportKeyPairReply, ImportKeyPairRequest, KeyPair, KeyPairRequest } from './protocol.ts';
import { rememberEndpoint, type Session } from './session.ts';

/** The key pair of this name (DescribeKeyPairs); undefined where there is none. Throws a MintError. */
export async function keyPair(
  session: Session,
  { keyName, ...target }: KeyPairRequest,
  milliseconds: number,
): Promise<KeyPair | undefined> {
  return await session.call('ec2:DescribeKeyPairs', target, milliseconds, async (call) => {
    const { DescribeKeyPairsCommand } = await import('./ec2-sdk.ts');
    const client = await clientOf(call);
    const command = new DescribeKeyPairsCommand({ KeyNames: [keyName], IncludePublicKey: true });
    command.middlewareStack.add(...rememberEndpoint(call.attempt));
    try {
      const { KeyPairs = [] } = await client.send(command, { abortSignal: call.signal });
      const found = KeyPairs.find((pair) => pair.KeyName === keyName);
      if (found === undefined) return undefined;
      return { fingerprint: found.KeyFingerprint ?? '', publicKey: found.PublicKey ?? '' };
    } catch (error) {
      if ((error as Error).name === 'InvalidKeyPair.NotFound') return undefined;
      throw error;
    }
  });
}

/** Has EC2 keep a public key under this name (ImportKeyPair), unless it keeps one there already. */
export async function importKeyPair(
  session: Session,
  { keyName, publicKey, ...target }: ImportKeyPairRequest,
  milliseconds: number,
): Promise<ImportKeyPairReply> {
  return await session.call('ec2:ImportKeyPair', target, milliseconds, async (call) => {
    const { ImportKeyPairCommand } = await import('./ec2-sdk.ts');
    const client = await clientOf(call);
    const command = new ImportKeyPairCommand({
      KeyName: keyName,
      PublicKeyMaterial: Buffer.from(publicKey),
    });
    command.middlewareStack.add(...rememberEndpoint(call.attempt));
    try {
      await client.send(command, { abortSignal: call.signal });
      return 'imported';
    } catch (error) {
      if ((error as Error).name === 'InvalidKeyPair.Duplicate') return 'taken';
      throw error;
    }
  });
}

/** DeleteKeyPair; one that is not there is no failure. */
export async function deleteKeyPair(
  session: Session,
  { keyName, ...target }: KeyPairRequest,
  milliseconds: number,
): Promise<undefined> {
  return await session.call('ec2:DeleteKeyPair', target, milliseconds, async (call) => {
    const { DeleteKeyPairCommand } = await import('./ec2-sdk.ts');
    const client = await clientOf(call);
    const command = new DeleteKeyPairCommand({ KeyName: keyName });
    command.middlewareStack.add(...rememberEndpoint(call.attempt));
    await client.send(command, { abortSignal: call.signal });
    return undefined;
  });
}
