/** A VM that is reachable only through an EC2 Instance Connect Endpoint, and the endpoint. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Endpoint, startEndpoint } from '../cloud/endpoint.ts';
import { type Machine, type Machines, makeMachines, tags } from './machines.ts';

const tls = join(import.meta.dirname, '../aws/tls');
const certificate = join(tls, 'certificate.pem');

export interface PrivateVm {
  readonly machines: Machines;
  readonly machine: Machine;
  readonly endpoint: Endpoint;
  end(): Promise<void>;
}

/** The certificate of every endpoint here, for `AWS_CA_BUNDLE`. */
export const trusted = { AWS_CA_BUNDLE: certificate };

export function addEndpoint({ world }: Machines): Promise<Endpoint> {
  const [key, cert] = [readFileSync(join(tls, 'key.pem'), 'utf8'), readFileSync(certificate, 'utf8')];
  return startEndpoint({ cloud: world.cloud, tls: { key, cert } });
}

/** `dev`: its address answers only to the endpoint. */
export async function makePrivateVm(
  lines: readonly string[] = ['route = "endpoint"', '[vm.dev]\nport = 22'],
): Promise<PrivateVm> {
  const machines = await makeMachines(lines, trusted);
  const { world } = machines;
  const endpoint = await addEndpoint(machines);
  const machine = await machines.add('127.0.0.31', {
    ...tags('dev'),
    publicIp: null,
    privateIp: '10.9.0.31',
  });
  const words = ['ssh-config', '--yes', '--refresh', '--file', world.sshConfigFile];
  const { status, stderr } = await world.mint(...words);
  if (status !== 0) throw new Error(`ssh-config: ${stderr}`);
  return {
    machines,
    machine,
    endpoint,
    async end() {
      await machines.end();
      await endpoint.close();
    },
  };
}
