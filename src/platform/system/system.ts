import type { System } from './interface.ts';
import { unix } from './unix.ts';
import { windows } from './windows.ts';

/** The system on which this process runs. It imports nothing of ours, so that every folder may import it. */
export const system: System = process.platform === 'win32' ? windows : unix;
