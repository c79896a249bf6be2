/** Every word the user may type behind `mint-ssh`. Each is loaded by itself: none pays for another. */
import type { CommandTable } from '../cli/command.ts';

export const commands: CommandTable = {
  proxy: {
    summary: 'what ssh runs as ProxyCommand: connect stdio to a VM',
    load: () => import('./proxy.ts'),
  },
  agent: {
    summary: 'the agent that holds keys in memory: run it, see it, end it',
    load: () => import('./agent.ts'),
  },
  'ssh-config': {
    summary: 'write the Host blocks and the Include that make `ssh VM` work',
    load: () => import('./ssh-config.ts'),
  },
  ssh: {
    summary: 'ssh to a VM without touching ~/.ssh/config',
    load: () => import('./ssh.ts'),
  },
  mosh: {
    summary: 'mosh to a VM: mosh-server over our ssh, then mosh-client',
    load: () => import('./mosh.ts'),
  },
  vms: {
    summary: 'the VMs, their state, address and trust',
    load: () => import('./vms.ts'),
  },
  start: {
    summary: 'start the instance of a VM',
    load: () => import('./start.ts'),
  },
  stop: {
    summary: 'stop the instance of a VM',
    load: () => import('./stop.ts'),
  },
  hosts: {
    summary: 'the host keys that are trusted: list, show, accept, forget',
    load: () => import('./hosts.ts'),
  },
  key: {
    summary: 'keys on a VM for clients that cannot use Instance Connect: add, list, remove',
    load: () => import('./key.ts'),
  },
  keys: {
    summary: 'keys that are kept here, one for each profile: create, attach, rotate, share, migrate',
    load: () => import('./keys.ts'),
  },
  job: {
    summary: 'a key in memory for the VM of a CI job: begin, set, run, end, list',
    load: () => import('./job.ts'),
  },
  debug: {
    summary: 'let a person into a failed VM for a while, then destroy it: open, list, end, reap',
    load: () => import('./debug.ts'),
  },
  doctor: {
    summary: 'look at everything a login rests on, and say what mends it',
    load: () => import('./doctor.ts'),
  },
  completion: {
    summary: 'the words, options and VM names for your shell to complete',
    load: async () => ({ command: (await import('./completion.ts')).completionOf(commands) }),
  },
  demo: {
    summary: 'see it work against a cloud inside the process',
    load: () => import('./demo.ts'),
  },
};
