/** A signal that would end us, as something to react to: a CI system that cancels a build sends one, then waits a little. */
export interface EndSignal {
  readonly signal: AbortSignal;
  readonly dispose: () => void;
}

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export function onEndSignal(): EndSignal {
  const controller = new AbortController();
  const abort = () => controller.abort();
  for (const name of signals) process.on(name, abort);
  return {
    signal: controller.signal,
    dispose: () => {
      for (const name of signals) process.off(name, abort);
    },
  };
}
