/**
 * The thread that speaks to AWS for one caller's environment. Its `process.env` is that environment and nothing
 * else, because the SDK's credential chain reads `process.env`: two callers in one thread would collide.
 */
import { parentPort } from 'node:worker_threads';
import { MintError } from '../errors.ts';
import { InstanceConnect } from './instance-connect.ts';
import { packFailure, type WorkerReply, type WorkerRequest } from './protocol.ts';

const port = parentPort;
if (port === null) throw new Error('this module runs as a worker thread only');

const instanceConnect = new InstanceConnect(process.env);

async function answer(message: WorkerRequest): Promise<WorkerReply> {
  try {
    if (message.kind === 'push') {
      return { id: message.id, pushed: await instanceConnect.push(message.request, message.milliseconds) };
    }
    await instanceConnect.warm(message.target, message.milliseconds);
    return { id: message.id, pushed: undefined };
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

port.on('message', (message: WorkerRequest) => {
  void answer(message).then((reply) => port.postMessage(reply));
});
