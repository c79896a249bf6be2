/** EC2 with every operation that the product uses, for the tests. The pages of its lists are short. */
import type { CloudService } from '../../src/demo/cloud-service.ts';
import { ec2, here, reservation, state } from '../../src/demo/ec2.ts';
import { isFailure } from '../../src/demo/ec2-xml.ts';
import type { Instance } from '../../src/demo/instance.ts';
import { endingOperations } from './ec2-endings.ts';
import { endpointOperations, type InstanceConnectEndpoint } from './ec2-endpoints.ts';
import { type Image, imageOperations } from './ec2-images.ts';
import { startInstances, wantedInstances } from './ec2-instances.ts';
import { type KeyPairs, keyPairOperations } from './ec2-key-pairs.ts';

export interface Ec2Options {
  readonly paging: { readonly size: number };
  /** The timers of instances that are starting, for the end of the cloud. */
  readonly starting: Set<NodeJS.Timeout>;
  readonly keyPairs: KeyPairs;
  /** By id. */
  readonly images: ReadonlyMap<string, Image>;
  /** By id. */
  readonly endpoints: ReadonlyMap<string, InstanceConnectEndpoint>;
}

export function fullEc2(
  instances: Map<string, Instance>,
  { paging, starting, keyPairs, images, endpoints }: Ec2Options,
): CloudService {
  return ec2(instances, {
    ...keyPairOperations(keyPairs),
    ...imageOperations(images),
    ...endpointOperations(endpoints, paging),
    ...endingOperations(instances, state),
    DescribeInstances(form, region) {
      const wanted = wantedInstances(form, here(instances, region), paging.size);
      if (isFailure(wanted)) return wanted;
      return { reservationSet: wanted.page.map(reservation), nextToken: wanted.nextToken };
    },
    StartInstances(form, region) {
      const wanted = wantedInstances(form, here(instances, region), Number.POSITIVE_INFINITY);
      if (isFailure(wanted)) return wanted;
      const changes = startInstances(wanted.page, instances, starting);
      if (isFailure(changes)) return changes;
      return {
        instancesSet: changes.map(({ id, from, to }) => ({
          instanceId: id,
          currentState: state(to),
          previousState: state(from),
        })),
      };
    },
  });
}
