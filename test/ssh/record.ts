/**
 * Records the key exchanges that the tests replay. Needs root and the programs below. Arguments select recordings by
 * parts of their names: `npm run record -- tinysshd`.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { clients } from './recorder/clients.ts';
import { type Place, type StartServer, servers } from './recorder/servers.ts';
import { tap } from './recorder/tap.ts';
import { nameOf, type Wish, wishes } from './recorder/wish.ts';
import { writeRecording } from './recording.ts';

const programs = [
  'ssh',
  'ssh-keygen',
  '/usr/sbin/sshd',
  'dbclient',
  'dropbear',
  'dropbearkey',
  'tinysshd',
  'tinysshd-makekey',
  'tinysshd-printkey',
  'debootstrap',
];

requirePrograms();
const chosen = wishes.filter((wish) => process.argv.slice(2).every((word) => nameOf(wish).includes(word)));
const work = mkdtempSync(join(tmpdir(), 'mint-ssh-record-'));
try {
  for (const wish of chosen) await record(wish, wish.release === undefined ? '' : install(wish.release));
} finally {
  // debootstrap mounts /proc, and unmounts it unless it is interrupted.
  execFileSync('rm', ['-rf', '--one-file-system', work]);
}

function requirePrograms(): void {
  if (process.getuid?.() !== 0)
    throw new Error('recording needs root: sshd forks into an account of its own');
  const missing = programs.filter((program) => {
    try {
      execFileSync('sh', ['-c', 'command -v "$0"', program], { stdio: 'ignore' });
      return false;
    } catch {
      return true;
    }
  });
  if (missing.length > 0)
    throw new Error(
      `not installed: ${missing.join(', ')} (openssh-client openssh-server dropbear-bin tinysshd debootstrap)`,
    );
}

async function record(wish: Wish, root: string): Promise<void> {
  const name = nameOf(wish);
  const place: Place = { root, directory: join(root === '' ? work : root, 'tmp', name) };
  mkdirSync(place.directory, { recursive: true });
  const startServer: StartServer = servers[wish.server];
  const server = await startServer(wish, place);
  try {
    const turns = await tap(server.open, (port) => clients[wish.client](wish, place, port));
    const { keyExchange, hostKeyAlgorithm } = wish;
    writeRecording({ name, keyExchange, hostKeyAlgorithm, fingerprint: server.fingerprint, turns });
    process.stderr.write(`${name}\n`);
  } catch (error) {
    throw new Error(`could not record ${name}`, { cause: error });
  } finally {
    server.stop();
  }
}

/** A minimal Debian of that release, made once for all recordings that use it. */
function install(release: string): string {
  const root = join(work, release);
  if (existsSync(join(root, 'usr/sbin/sshd'))) return root;
  const packages = '--include=openssh-client,openssh-server';
  execFileSync('debootstrap', ['--variant=minbase', packages, release, root], { stdio: 'ignore' });
  return root;
}
