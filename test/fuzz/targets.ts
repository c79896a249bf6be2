/** Every parser of bytes that others wrote. */
import type { Target } from './target.ts';
import { consoleOutput, terminalText, vmCache } from './targets/cloud.ts';
import { control } from './targets/control.ts';
import { knownHosts, settings, trustRecord, userSshConfig } from './targets/files.ts';
import { authorizedKeysFile, keyFile, metadata, publicLines } from './targets/keys.ts';
import { observer } from './targets/observer.ts';
import { leases, moshServer, openJobs } from './targets/others.ts';
import { agentMessages, hostKeys, wire } from './targets/wire.ts';

export const targets: readonly Target[] = [
  wire,
  observer,
  hostKeys,
  agentMessages,
  control,
  knownHosts,
  userSshConfig,
  settings,
  trustRecord,
  authorizedKeysFile,
  keyFile,
  publicLines,
  metadata,
  consoleOutput,
  vmCache,
  terminalText,
  moshServer,
  leases,
  openJobs,
];
