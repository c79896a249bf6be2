/**
 * The ends of an instance, and what its own shutdown does: API_TerminateInstances.html, API_StopInstances.html and
 * API_ModifyInstanceAttribute.html beside the others.
 */

import type { Xml } from '../../src/demo/ec2-xml.ts';
import { isFailure } from '../../src/demo/ec2-xml.ts';
import type { Instance } from '../../src/demo/instance.ts';
import { type WireFailure, wireFailure } from '../../src/demo/wire-failure.ts';
import { wantedInstances } from './ec2-instances.ts';

type State = Instance['state'];
type Operation = (form: URLSearchParams, region: string) => Xml | WireFailure;

/** @param described a state as EC2 writes it */
export function endingOperations(
  instances: Map<string, Instance>,
  described: (state: State) => Xml,
): Readonly<Record<'TerminateInstances' | 'StopInstances' | 'ModifyInstanceAttribute', Operation>> {
  const ended = (form: URLSearchParams, region: string, way: State, end: State): Xml | WireFailure => {
    const wanted = named(form, region, instances);
    if (isFailure(wanted)) return wanted;
    const wrong = wanted.find(
      ({ state }) => end === 'stopped' && ['terminated', 'shutting-down'].includes(state),
    );
    if (wrong !== undefined) {
      const message = `The instance '${wrong.id}' is not in a state from which it can be stopped.`;
      return wireFailure('IncorrectInstanceState', message);
    }
    return {
      instancesSet: wanted.map((instance) => {
        const isDone = instance.state === end || instance.state === 'terminated';
        // In EC2 it takes a while; here the next request shows it done.
        if (!isDone) instances.set(instance.id, { ...instance, state: end });
        return {
          instanceId: instance.id,
          currentState: described(isDone ? instance.state : way),
          previousState: described(instance.state),
        };
      }),
    };
  };
  return {
    TerminateInstances: (form, region) => ended(form, region, 'shutting-down', 'terminated'),
    StopInstances: (form, region) => ended(form, region, 'stopping', 'stopped'),
    ModifyInstanceAttribute(form, region) {
      const id = form.get('InstanceId');
      const behaviour = form.get('InstanceInitiatedShutdownBehavior.Value');
      if (id === null)
        return wireFailure('MissingParameter', 'The request must contain the parameter instanceId');
      const wanted = named(new URLSearchParams({ 'InstanceId.1': id }), region, instances);
      if (isFailure(wanted)) return wanted;
      if (behaviour !== 'terminate' && behaviour !== 'stop') {
        return wireFailure(
          'InvalidParameterValue',
          'The stand-in changes what a shutdown does, to terminate or stop.',
        );
      }
      for (const instance of wanted)
        instances.set(instance.id, { ...instance, shutdownBehaviour: behaviour });
      return { return: true };
    },
  };
}

function named(
  form: URLSearchParams,
  region: string,
  instances: ReadonlyMap<string, Instance>,
): readonly Instance[] | WireFailure {
  if (!form.has('InstanceId.1'))
    return wireFailure('MissingParameter', 'The request must contain InstanceId');
  const here = [...instances.values()].filter((instance) => instance.region === region);
  const wanted = wantedInstances(form, here, Number.POSITIVE_INFINITY);
  return isFailure(wanted) ? wanted : wanted.page;
}
