/** The stand-in cloud of the tests: the demo's, with all services that the product uses, faults and a log of requests. */
import {
  type Cloud as CoreCloud,
  type CloudOptions as CoreOptions,
  startCloud as startCore,
} from '../../src/demo/cloud.ts';
import type { Interceptor, RequestRecord } from '../../src/demo/cloud-service.ts';
import { fullEc2 } from './ec2.ts';
import type { InstanceConnectEndpoint } from './ec2-endpoints.ts';
import type { Image } from './ec2-images.ts';
import type { KeyPairs } from './ec2-key-pairs.ts';
import { type CloudFaults, type FaultPlan, makeFaults } from './faults.ts';
import { securityTokens } from './sts.ts';

export { cloudEnvironment, demoAccessKey, demoRegion } from '../../src/demo/cloud.ts';

export interface Cloud extends CoreCloud {
  /** EC2's key pairs, by `keyPairPlace`. */
  readonly keyPairs: KeyPairs;
  /** Machine images, by id. */
  readonly images: Map<string, Image>;
  /** EC2 Instance Connect Endpoints, by id. */
  readonly endpoints: Map<string, InstanceConnectEndpoint>;
  /** How many instances a page of DescribeInstances has at most: few, so that every caller has to follow pages. */
  pageSize: number;
  /** Everything that was answered, failures too, in order. */
  readonly requests: readonly RequestRecord[];
  readonly faults: CloudFaults;
  /**
   * An outage: cuts every connection and refuses new ones.
   * @returns a function that ends the outage; the endpoint is then at the same port
   */
  goOffline(): Promise<() => Promise<void>>;
}

/** Starts the cloud on a free port of loopback. */
export async function startCloud({ keysDirectory }: Pick<CoreOptions, 'keysDirectory'> = {}): Promise<Cloud> {
  const keyPairs: KeyPairs = new Map();
  const images = new Map<string, Image>();
  const endpoints = new Map<string, InstanceConnectEndpoint>();
  const requests: RequestRecord[] = [];
  const starting = new Set<NodeJS.Timeout>();
  const paging = { size: 5 };
  const { faults, interceptor } = plannedFaults(requests);
  const core = await startCore({
    ...(keysDirectory === undefined ? {} : { keysDirectory }),
    services: (instances) => [
      fullEc2(instances, { paging, starting, keyPairs, images, endpoints }),
      securityTokens(),
    ],
    interceptor,
  });
  const { server } = core;
  const port = Number(new URL(core.endpoint).port);
  return {
    ...core,
    keyPairs,
    images,
    endpoints,
    get pageSize() {
      return paging.size;
    },
    set pageSize(size) {
      paging.size = size;
    },
    requests,
    faults,
    async goOffline() {
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
      return () =>
        new Promise((resolve, reject) => {
          server.once('error', reject);
          server.listen(port, '127.0.0.1', resolve);
        });
    },
    close() {
      for (const timer of starting) clearTimeout(timer);
      return core.close();
    },
  };
}

function plannedFaults(requests: RequestRecord[]): { faults: CloudFaults; interceptor: Interceptor } {
  const whole = makeFaults();
  const parts = new Map<string, FaultPlan>();
  const faults: CloudFaults = Object.assign(whole, {
    of(part: string) {
      const plan = parts.get(part) ?? makeFaults();
      parts.set(part, plan);
      return plan;
    },
  });
  const plans = (names: readonly string[]) => [...names.flatMap((name) => parts.get(name) ?? []), whole];
  return {
    faults,
    interceptor: {
      admit: () => whole.admit(),
      async admitTo(names) {
        for (const plan of plans(names)) if (plan !== whole) await plan.admit();
      },
      takeFailure: (names) =>
        plans(names)
          .map((plan) => plan.takeFailure())
          .find((failure) => failure !== undefined),
      takeLostAnswer: (names) => plans(names).some((plan) => plan.takeLostAnswer()),
      answered: (record) => requests.push(record),
    },
  };
}
