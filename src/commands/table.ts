/** Every command, in the order of the help. Each is loaded only when it runs, which keeps start-up fast. */
import type { CommandTable } from '../cli/command.ts';

/** Commands that only mint-ssh itself starts; help and completion do not list them. */
export const hiddenCommands: CommandTable = {
  credentials: {
    summary: 'resolve AWS credentials for the agent',
    load: () => import('./credentials.ts'),
  },
};

export const commands: CommandTable = {
  setup: {
    summary: 'find your VMs, try a login to each, and write the Host blocks',
    load: () => import('./setup.ts'),
  },
  vms: {
    summary: 'list the VMs: state, address, host key, last login',
    load: () => import('./vms.ts'),
  },
  ssh: {
    summary: 'log in to a VM without touching ~/.ssh/config',
    load: () => import('./ssh.ts'),
  },
  'ssh-config': {
    summary: 'write the Host blocks that make plain `ssh VM` work',
    load: () => import('./ssh-config.ts'),
  },
  start: {
    summary: "start a VM's instance",
    load: () => import('./start.ts'),
  },
  stop: {
    summary: "stop a VM's instance",
    load: () => import('./stop.ts'),
  },
  doctor: {
    summary: 'check everything that a login needs, and say how to fix it',
    load: () => import('./doctor.ts'),
  },
  hosts: {
    summary: 'the pinned host keys: list, show, accept, forget, verify',
    load: () => import('./hosts.ts'),
  },
  mosh: {
    summary: 'mosh to a VM',
    load: () => import('./mosh.ts'),
  },
  key: {
    summary: "other clients' keys on a VM (a phone's): add, list, remove",
    load: () => import('./key.ts'),
  },
  keys: {
    summary: 'managed keys, stored on this machine: create, attach, rotate, …',
    load: () => import('./keys.ts'),
  },
  job: {
    summary: 'a key in memory for the VM of a CI job',
    load: () => import('./job.ts'),
  },
  debug: {
    summary: 'access to the VM of a failed CI job, then its destruction',
    load: () => import('./debug.ts'),
  },
  agent: {
    summary: 'the agent that holds keys in memory: status, stop, install',
    load: () => import('./agent.ts'),
  },
  completion: {
    summary: 'completion for bash, zsh or fish',
    load: async () => ({ command: (await import('./completion.ts')).completionOf(commands) }),
  },
  demo: {
    summary: 'try it against a cloud inside the process; no AWS account needed',
    load: () => import('./demo.ts'),
  },
  proxy: {
    summary: 'what ssh runs as ProxyCommand',
    load: () => import('./proxy.ts'),
  },
};
