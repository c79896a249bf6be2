/** VMs whose users have temporary home directories, and the managed keys for them. */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loginUser, makeWorld, mintProgram, type Result, type World } from '../../openssh/world.ts';

export interface KeyWorld {
  readonly world: World;
  /** The directory with the keys. */
  readonly store: string;
  /** `mint-ssh keys …`; fails the test unless the status is this. */
  keys(status: number, ...words: readonly string[]): Promise<Result>;
  /** The lines of authorized_keys on a VM. */
  lines(vm: string): string[];
  /** The directory with it. */
  sshDirectory(vm: string): string;
  /** Authorizes this line on the VMs, and no other. */
  letIn(line: string, ...vms: readonly string[]): void;
  /** Whether `ssh VM` gets a session, with any key. */
  letsIn(vm: string): Promise<boolean>;
  /** Whether plain ssh without mint-ssh gets a session with this private key. */
  opens(vm: string, keyFile: string): Promise<boolean>;
  end(): Promise<void>;
}

/**
 * @param access lines of ssh.toml for each VM
 * @param more for single VMs: lines of sshd_config, and of ssh.toml in place of `access`
 */
export async function makeKeyWorld(
  vms: readonly string[],
  access: readonly string[] = [],
  more: Readonly<Record<string, { sshdLines?: readonly string[]; settings?: readonly string[] }>> = {},
): Promise<KeyWorld> {
  const remote = mkdtempSync('/tmp/mkw-');
  const home = (vm: string) => join(remote, vm);
  const file = (vm: string) => join(home(vm), '.ssh', 'authorized_keys');
  const sshdLines = (vm: string) => [
    `AuthorizedKeysFile ${file(vm)} ${join(home(vm), '.ssh', 'more_keys')}`,
    // The test must not touch the real ~/.ssh of its user.
    `ForceCommand ${join(remote, 'wrapper')}`,
    `SetEnv HOME=${home(vm)} MINT_SSHD=${home(vm)}`,
  ];
  const script = `#!/bin/sh\ncase $HOME in ${remote}/*) ;; *) exit 99 ;; esac\neval "$SSH_ORIGINAL_COMMAND"\n`;
  writeFileSync(join(remote, 'wrapper'), script);
  chmodSync(join(remote, 'wrapper'), 0o755);
  for (const vm of vms) mkdirSync(join(home(vm), '.ssh'), { recursive: true, mode: 0o700 });
  const each = vms.map((vm) => {
    const { sshdLines: lines = [], settings = access } = more[vm] ?? {};
    return [vm, { sshdLines: [...lines, ...sshdLines(vm)], settings }] as const;
  });
  const world = await makeWorld({ vms: Object.fromEntries(each) });
  const store = join(world.configDir, 'keys');
  return {
    world,
    store,
    async keys(status, ...words) {
      const ended = await world.run(mintProgram, ['keys', ...words], { timeout: 120_000 });
      if (ended.status === status) return ended;
      throw new Error(`keys ${words.join(' ')}: status ${ended.status}: ${ended.stdout}${ended.stderr}`);
    },
    lines(vm) {
      if (!existsSync(file(vm))) return [];
      return readFileSync(file(vm), 'utf8').split('\n').filter(Boolean);
    },
    sshDirectory: (vm) => join(home(vm), '.ssh'),
    letIn(line, ...on) {
      for (const vm of on) writeFileSync(file(vm), `${line.trim()}\n`, { mode: 0o600 });
    },
    async letsIn(vm) {
      const { stdout } = await world.startSsh([vm, 'echo in'], { timeout: 90_000 }).done;
      return stdout === 'in\n';
    },
    async opens(vm, keyFile) {
      const { port, hostKey } = world.sshd(vm);
      const knownHosts = join(remote, `known-${vm}`);
      writeFileSync(knownHosts, `[127.0.0.1]:${port} ${hostKey.line}\n`);
      const options = ['BatchMode=yes', 'IdentityAgent=none', 'IdentitiesOnly=yes'];
      const words = [...options, `UserKnownHostsFile=${knownHosts}`].flatMap((option) => ['-o', option]);
      const target = ['-i', keyFile, '-p', String(port), `${loginUser}@127.0.0.1`, 'echo in'];
      return (await world.run('ssh', ['-F', 'none', ...words, ...target])).stdout === 'in\n';
    },
    async end() {
      await world.end();
      rmSync(remote, { recursive: true, force: true });
    },
  };
}
