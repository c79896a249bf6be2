/** What audit.log says. */
import type { World } from './world.ts';

/** Fingerprints of the host keys of a VM that a user accepted when a login asked, in order. */
export function acceptedAtPrompt(world: World, vm: string): (string | undefined)[] {
  return (world.file('audit.log') ?? '')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, string>)
    .filter(
      ({ event, command, vm_name }) => event === 'host-key-accepted' && command === 'proxy' && vm_name === vm,
    )
    .map(({ key_fingerprint }) => key_fingerprint);
}
