/**
 * The thread that speaks to AWS for one caller's environment. Its `process.env` is that environment and nothing
 * else, because the SDK's credential chain reads `process.env`: two callers in one thread would collide.
 */
import { parentPort } from 'node:worker_threads';
import { MintError } from '../errors.ts';
import { consoleOutput, describeVms, images, startInstance } from './ec2.ts';
import { endInstance, setShutdown } from './end-instance.ts';
import { tunnel } from './endpoint.ts';
import { identity } from './identity.ts';
import { push, warm } from './instance-connect.ts';
import { deleteKeyPair, importKeyPair, keyPair } from './key-pairs.ts';
import {
  type OperationName,
  type Operations,
  packFailure,
  sharedClock,
  type WorkerReply,
  type WorkerRequest,
} from './protocol.ts';
import { Session } from './session.ts';
import { table } from './table.ts';

const port = parentPort;
if (port === null) throw new Error('this module runs as a worker thread only');

const operations: {
  readonly [Name in OperationName]: (
    session: Session,
    request: Operations[Name]['request'],
    milliseconds: number,
  ) => Promise<Operations[Name]['reply']>;
} = {
  warm,
  push,
  describeVms,
  images,
  consoleOutput,
  startInstance,
  identity,
  tunnel,
  endInstance,
  setShutdown,
  table,
  keyPair,
  importKeyPair,
  deleteKeyPair,
};

async function answer(session: Session, message: WorkerRequest): Promise<WorkerReply> {
  try {
    return { id: message.id, reply: await run(session, message.kind, message) };
  } catch (error) {
    const failure =
      error instanceof MintError
        ? error
        : new MintError(
            'io-failed',
            `the AWS worker failed: ${error instanceof Error ? error.name : 'unknown'}`,
          );
    return { id: message.id, failure: packFailure(failure) };
  }
}

async function run<Name extends OperationName>(
  session: Session,
  kind: Name,
  message: { readonly request: Operations[Name]['request']; readonly deadline: number },
): Promise<Operations[Name]['reply']> {
  const milliseconds = Math.max(0, Math.round(message.deadline - sharedClock()));
  return await operations[kind](session, message.request, milliseconds);
}

// The thread is started, and the SDK loaded, before it is known for whom.
port.once('message', (environment: Readonly<Record<string, string>>) => {
  Object.assign(process.env, environment);
  const session = new Session(process.env);
  port.on('message', (message: WorkerRequest) => {
    void answer(session, message).then((reply) => port.postMessage(reply));
  });
});
