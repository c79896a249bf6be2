/**
 * The recipes of docs/ci.md as they are printed, run step by step as GitHub's and GitLab's runners do. `aws` and `curl` are
 * stand-ins; mint-ssh, ssh, the VM's sshd and DynamoDB are real.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parse } from 'yaml';
import { demoRegion } from '../../src/demo/cloud.ts';
import { fences } from '../docs/pages.ts';
import { type Child, freePort, loginUser, mintProgram, type Result, waitFor } from '../openssh/world.ts';
import { type DebugWorld, makeDebugWorld } from './debug-world.ts';
import { type Dynamo, startDynamo } from './dynamo.ts';
import { bootJobVm, type JobVm } from './job-vm.ts';

const recipes = fences('docs/ci.md')
  .filter(({ language }) => language === 'yaml')
  .map(({ text }) => parse(text) as Record<string, unknown>);

interface GitHubJob {
  readonly env: Readonly<Record<string, string>>;
  readonly 'timeout-minutes': number;
  readonly steps: readonly {
    readonly name?: string;
    readonly uses?: string;
    readonly with?: Readonly<Record<string, unknown>>;
    readonly run?: string;
    readonly if?: string;
    readonly env?: Readonly<Record<string, string>>;
  }[];
}

interface GitLabJob {
  readonly variables: Readonly<Record<string, string>>;
  readonly before_script: readonly string[];
  readonly script: readonly string[];
  readonly after_script: readonly string[];
}

/** One machine that runs jobs: a directory with the stand-ins, and what they were called with. */
interface Runner {
  readonly directory: string;
  /** Where the checkout is. */
  readonly work: string;
  readonly environment: Readonly<Record<string, string>>;
  /** The calls of `aws`, without options. */
  calls(): string[];
  /** The VM that was launched; it boots as soon as `aws` asks for it. */
  vm(): JobVm;
  readonly instance: string;
  terminated(): boolean;
}

interface Case {
  /** Whether run-instances works. */
  readonly launches?: boolean;
  /** Whether sshd ever listens on the VM. */
  readonly answers?: boolean;
  /** What `make test` does on the VM. */
  readonly make?: string;
  /** What the code host serves as the user's keys; undefined for 404. */
  readonly keys?: string;
}

describe('the recipes of docs/ci.md', { timeout: 580_000 }, () => {
  let debug: DebugWorld;
  let dynamo: Dynamo;
  const machines: JobVm[] = [];
  let count = 0;

  before(async () => {
    dynamo = await startDynamo();
    await dynamo.makeTable('mint-leases');
    debug = await makeDebugWorld({ environment: { AWS_ENDPOINT_URL_DYNAMODB: dynamo.endpoint } });
  });
  after(async () => {
    for (const vm of machines) await vm.end();
    await debug.end();
    await dynamo.close();
  });

  const [gitHub = {}, gitLab = {}] = recipes;
  const gitHubJob = (gitHub['jobs'] as { readonly test: GitHubJob }).test;
  const gitLabJob = gitLab['test'] as GitLabJob;

  async function makeRunner({
    launches = true,
    answers = true,
    make = 'exit 0',
    keys,
  }: Case): Promise<Runner> {
    count += 1;
    const directory = join(debug.machines, `runner-${count}`);
    const bin = join(directory, 'bin');
    const work = join(directory, 'work');
    for (const made of [bin, work]) mkdirSync(made, { recursive: true });
    const at = (name: string) => join(directory, name);
    const instance = `i-0123456789abcf${String(count).padStart(3, '0')}`;
    const program = (name: string, text: string) =>
      writeFileSync(join(bin, name), `#!/bin/sh\n${text}`, { mode: 0o755 });
    // The release's program, with what differs here: no port 22, no image with a user of its own, and less patience.
    mkdirSync(at('release/mint-ssh-0.1.0'), { recursive: true });
    writeFileSync(
      at('release/mint-ssh-0.1.0/mint-ssh'),
      `#!/bin/bash
case "$1 $2" in
  'job begin') set -- "$@" --user '${loginUser}' ;;
  'job set') set -- "$@" --port "$(cat '${at('port')}')" ;;
  'job run') words=(); for word; do [ "$word" != 10m ] || word=${answers ? '1m' : '3s'}; words+=("$word"); done; set -- "\${words[@]}" ;;
esac
exec '${mintProgram}' "$@"
`,
      { mode: 0o755 },
    );
    execFileSync('tar', ['-czf', at('archive'), '-C', at('release'), 'mint-ssh-0.1.0']);
    if (keys !== undefined) writeFileSync(at('keys'), keys);
    program(
      'curl',
      `for url; do :; done
case $url in
  https://releases.example/*) exec cat '${at('archive')}' ;;
  *.keys) printf '%s\\n' "$url" >>'${at('key-urls')}'; [ -e '${at('keys')}' ] || exit 22; exec cat '${at('keys')}' ;;
esac
exit 6
`,
    );
    program(
      'aws',
      `printf '%s\\n' "$*" >>'${at('calls')}'
case "$1 $2" in
  'ec2 run-instances')
    ${launches ? '' : 'echo "Unable to locate credentials" >&2; exit 253'}
    for word; do case $word in file://*) cat "\${word#file://}" >'${at('user-data.part')}' ;; esac; done
    mv '${at('user-data.part')}' '${at('user-data')}'
    n=0; while [ ! -e '${at('port')}' ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n + 1)); done
    echo '${instance}' ;;
  'ec2 wait') ;;
  'ec2 describe-instances')
    case "$*" in
      *--filters*) [ ! -e '${at('user-data')}' ] || [ -e '${at('terminated')}' ] || echo '${instance}' ;;
      *--instance-ids\\ ${instance}*) echo 127.0.0.1 ;;
      *) exit 254 ;;
    esac ;;
  'ec2 terminate-instances')
    case "$*" in *--instance-ids\\ ${instance}) : >'${at('terminated')}' ;; *) exit 254 ;; esac ;;
  *) exit 252 ;;
esac
`,
    );
    let vm: JobVm | undefined;
    if (launches) {
      debug.world.cloud.instances.set(instance, {
        id: instance,
        region: demoRegion,
        state: 'running',
        address: '127.0.0.1',
      });
      void waitFor('the launch', 60_000, () => existsSync(at('user-data'))).then(
        async () => {
          if (answers) {
            vm = await bootJobVm(at('vm'), readFileSync(at('user-data'), 'utf8'));
            machines.push(vm);
            writeFileSync(at('vm/bin/make'), `#!/bin/sh\n[ "$*" = test ] || exit 99\n${make}\n`, {
              mode: 0o755,
            });
          }
          writeFileSync(at('port'), `${vm?.port ?? (await freePort())}\n`);
        },
        () => {},
      );
    }
    const { PATH = '', ...environment } = debug.world.environment;
    return {
      directory,
      work,
      instance,
      environment: {
        ...environment,
        PATH: `${bin}:${PATH}`,
        MINT_SSH_URL: 'https://releases.example/mint-ssh-0.1.0-linux-x64.tar.gz',
        MINT_SSH_SHA256: createHash('sha256')
          .update(readFileSync(at('archive')))
          .digest('hex'),
      },
      calls: () =>
        existsSync(at('calls'))
          ? readFileSync(at('calls'), 'utf8')
              .trim()
              .split('\n')
              .map((line) => line.split(' ').slice(0, 2).join(' '))
          : [],
      vm: () => vm ?? assert.fail('no VM was launched'),
      terminated: () => existsSync(at('terminated')),
    };
  }

  /** What GitHub puts in place of an expression; any other one in a recipe fails the test. */
  function evaluate(text: string, values: Readonly<Record<string, string>>): string {
    return text.replace(
      /\$\{\{ (.*?) \}\}/g,
      (_, expression: string) => values[expression] ?? assert.fail(expression),
    );
  }

  interface Step extends Result {
    readonly name: string;
  }

  /** Runs the steps; a failure skips those without `always()`. `during` is called with each step while it runs. */
  async function runGitHub(
    runner: Runner,
    { label = false, actor = 'anna' },
    during: (name: string, shell: Child) => Promise<void> = async () => {},
  ): Promise<ReadonlyMap<string, Step>> {
    const values = {
      'github.run_id': `9000${count}`,
      'github.run_attempt': '1',
      'github.actor': actor,
      "contains(github.event.pull_request.labels.*.name, 'debug-access')": String(label),
      'vars.MINT_SSH_URL': runner.environment['MINT_SSH_URL'] ?? '',
      'vars.MINT_SSH_SHA256': runner.environment['MINT_SSH_SHA256'] ?? '',
    };
    const evaluated = (variables: Readonly<Record<string, string>> = {}) =>
      Object.fromEntries(Object.entries(variables).map(([name, value]) => [name, evaluate(value, values)]));
    const files = {
      GITHUB_ENV: join(runner.directory, 'github-env'),
      GITHUB_PATH: join(runner.directory, 'github-path'),
    };
    for (const file of Object.values(files)) writeFileSync(file, '');
    const lines = (file: string) =>
      readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line !== '');
    const done = new Map<string, Step>();
    let hasFailed = false;
    for (const { name = '', run, if: condition, env } of gitHubJob.steps) {
      if (run === undefined || (hasFailed && condition !== 'always()')) continue;
      const file = join(runner.directory, 'step.sh');
      writeFileSync(file, run);
      const path = [...lines(files.GITHUB_PATH).reverse(), runner.environment['PATH']].join(':');
      const set = Object.fromEntries(
        lines(files.GITHUB_ENV).map((line) => line.split('=') as [string, string]),
      );
      const shell = debug.world.start('bash', ['--noprofile', '--norc', '-eo', 'pipefail', file], {
        cwd: runner.work,
        env: {
          ...runner.environment,
          ...evaluated(gitHubJob.env),
          ...set,
          ...files,
          PATH: path,
          ...evaluated(env),
        },
        timeout: 240_000,
      });
      await during(name, shell);
      const result = await shell.done;
      hasFailed ||= result.status !== 0;
      done.set(name, { name, ...result });
    }
    return done;
  }

  const step = (steps: ReadonlyMap<string, Step>, name: string): Step =>
    steps.get(name) ?? assert.fail(`${name} did not run`);

  /** After every run: the clean-up did well, the instance is gone, no job and no lease is left. */
  async function assertClean(runner: Runner, cleanUp: Pick<Result, 'status' | 'stderr'>): Promise<void> {
    assert.equal(cleanUp.status, 0, cleanUp.stderr);
    const { stdout } = await debug.world.mint('job', 'list', '--json');
    assert.deepEqual(JSON.parse(stdout), []);
    const leases = await debug.world.mint('debug', 'list', '--json', '--leases', 'dynamodb:mint-leases');
    assert.deepEqual(JSON.parse(leases.stdout), []);
    if (existsSync(join(runner.directory, 'user-data')))
      assert.ok(runner.terminated(), 'the instance was not terminated');
  }

  describe('GitHub', () => {
    test('credentials last longer than the job', () => {
      const credentials = gitHubJob.steps.find(({ uses = '' }) => uses.includes('configure-aws-credentials'));
      const seconds = Number(credentials?.with?.['role-duration-seconds']);
      assert.ok(seconds > gitHubJob['timeout-minutes'] * 60, String(seconds));
    });

    test('success', async () => {
      const runner = await makeRunner({ make: 'echo all tests passed' });
      const steps = await runGitHub(runner, { label: true });
      assert.match(step(steps, 'test').stdout, /all tests passed/, step(steps, 'test').stderr);
      assert.equal(step(steps, 'test').status, 0);
      await assertClean(runner, step(steps, 'clean up'));
    });

    test('failure without the label: the status of the tests, and no debug access', async () => {
      const runner = await makeRunner({
        make: 'exit 2',
        keys: readFileSync(`${debug.personKey}.pub`, 'utf8'),
      });
      const steps = await runGitHub(runner, { label: false });
      assert.equal(step(steps, 'test').status, 2, step(steps, 'test').stderr);
      assert.doesNotMatch(step(steps, 'test').stderr, /::group::/);
      assert.ok(!runner.vm().isArmed());
      assert.ok(!existsSync(join(runner.directory, 'key-urls')));
      await assertClean(runner, step(steps, 'clean up'));
    });

    test('failure with the label: a group in the log, and a VM that is held until it is turned off', async () => {
      const runner = await makeRunner({
        make: 'exit 2',
        keys: readFileSync(`${debug.personKey}.pub`, 'utf8'),
      });
      const { instances } = debug.world.cloud;
      const steps = await runGitHub(runner, { label: true }, async (name, shell) => {
        if (name !== 'test') return;
        await waitFor('the block', 120_000, () => shell.stderr.includes('::endgroup::'));
        assert.ok(runner.vm().isArmed());
        assert.equal(instances.get(runner.instance)?.shutdownBehaviour, 'terminate');
        const [instance] = [instances.get(runner.instance)];
        if (instance !== undefined) instances.set(runner.instance, { ...instance, state: 'shutting-down' });
        runner.vm().powerOff();
      });
      assert.equal(step(steps, 'test').status, 2);
      assert.match(step(steps, 'test').stderr, /^::group::debug access by mint-ssh: build-9/m);
      assert.equal(instances.get(runner.instance)?.state, 'terminated');
      await assertClean(runner, step(steps, 'clean up'));
    });

    test('failure with the label for a bot without keys: the tests run, with a warning instead of debug access', async () => {
      const runner = await makeRunner({ make: 'echo tested; exit 2' });
      const steps = await runGitHub(runner, { label: true, actor: 'dependabot[bot]' });
      const { status, stdout, stderr } = step(steps, 'test');
      assert.deepEqual([status, stdout], [2, 'tested\n'], stderr);
      assert.match(stderr, /warning: there will be no debug access: "actor\.keys" contains no key/);
      assert.equal(
        readFileSync(join(runner.directory, 'key-urls'), 'utf8'),
        'https://github.com/dependabot[bot].keys\n',
      );
      await assertClean(runner, step(steps, 'clean up'));
    });

    test('cancelled while the tests run: the shell’s own signal ends them on the VM', async () => {
      const runner = await makeRunner({ make: 'echo $$ >"$HOME/pid"; echo running; sleep 300' });
      let begun = 0;
      const steps = await runGitHub(runner, { label: true }, async (name, shell) => {
        if (name !== 'test') return;
        await shell.until(/^running$/m, 120_000);
        begun = performance.now();
        process.kill(shell.pid, 'SIGINT');
      });
      assert.equal(step(steps, 'test').status, 130, step(steps, 'test').stderr);
      const pid = readFileSync(join(runner.vm().home, 'pid'), 'utf8').trim();
      assert.ok(!existsSync(`/proc/${pid}`), 'the tests still run on the VM');
      assert.ok(performance.now() - begun < 60_000);
      await assertClean(runner, step(steps, 'clean up'));
    });

    test('cancelled while the VM is held: the first SIGINT destroys it', async () => {
      const runner = await makeRunner({
        make: 'exit 2',
        keys: readFileSync(`${debug.personKey}.pub`, 'utf8'),
      });
      const steps = await runGitHub(runner, { label: true }, async (name, shell) => {
        if (name !== 'test') return;
        await waitFor('the block', 120_000, () => shell.stderr.includes('::endgroup::'));
        process.kill(shell.pid, 'SIGINT');
      });
      assert.equal(step(steps, 'test').status, 2);
      assert.equal(debug.world.cloud.instances.get(runner.instance)?.state, 'terminated');
      await assertClean(runner, step(steps, 'clean up'));
    });

    test('no launch: the clean-up has no instance to end, and leaves no job', async () => {
      const runner = await makeRunner({ launches: false });
      const steps = await runGitHub(runner, { label: true });
      assert.notEqual(step(steps, 'launch').status, 0);
      assert.ok(!steps.has('test'));
      await assertClean(runner, step(steps, 'clean up'));
      assert.deepEqual(runner.calls(), ['ec2 run-instances', 'ec2 describe-instances']);
    });

    test('a VM that never answers: the step fails, and the instance is terminated', async () => {
      const runner = await makeRunner({ answers: false });
      const steps = await runGitHub(runner, { label: true });
      assert.equal(step(steps, 'test').status, 1, step(steps, 'test').stderr);
      assert.match(step(steps, 'test').stderr, /did not answer within 3 s/);
      await assertClean(runner, step(steps, 'clean up'));
    });
  });

  describe('GitLab', () => {
    async function runGitLab(
      runner: Runner,
      variables: Readonly<Record<string, string>>,
      during: (shell: Child) => Promise<void> = async () => {},
    ): Promise<{ readonly script: Result; readonly afterScript: Result }> {
      const predefined: Record<string, string> = {
        CI_JOB_ID: String(7000 + count),
        CI_PROJECT_DIR: runner.work,
        CI_PROJECT_PATH_SLUG: 'group-web',
        CI_SERVER_URL: 'https://gitlab.example',
        GITLAB_USER_LOGIN: 'anna',
        CI_ROLE_ARN: 'arn:aws:iam::123456789012:role/ci',
        AWS_TOKEN: 'token',
      };
      const expanded = Object.entries(gitLabJob.variables).map(([name, value]) => [
        name,
        value.replace(/\$(\w+)/g, (_, word: string) => predefined[word] ?? assert.fail(word)),
      ]);
      const env = { ...runner.environment, ...predefined, ...Object.fromEntries(expanded), ...variables };
      const shell = (script: readonly string[]) => {
        const file = join(runner.directory, 'script.sh');
        writeFileSync(file, script.join('\n'));
        return debug.world.start('bash', ['-eo', 'pipefail', file], {
          cwd: runner.work,
          env,
          timeout: 240_000,
        });
      };
      const main = shell([...gitLabJob.before_script, ...gitLabJob.script]);
      await during(main);
      const script = await main.done;
      return { script, afterScript: await shell(gitLabJob.after_script).done };
    }

    test('success', async () => {
      const runner = await makeRunner({ make: 'echo all tests passed' });
      const { script, afterScript } = await runGitLab(runner, {});
      assert.equal(script.status, 0, script.stderr);
      assert.match(script.stdout, /all tests passed/);
      await assertClean(runner, afterScript);
    });

    test('failure, with and without the variable', async () => {
      const keys = readFileSync(`${debug.personKey}.pub`, 'utf8');
      const plain = await makeRunner({ make: 'exit 2', keys });
      const without = await runGitLab(plain, {});
      assert.equal(without.script.status, 2, without.script.stderr);
      assert.ok(!plain.vm().isArmed());
      await assertClean(plain, without.afterScript);
      const runner = await makeRunner({ make: 'exit 2', keys });
      const { script, afterScript } = await runGitLab(runner, { MINT_DEBUG: '1' }, async (shell) => {
        await waitFor('the block', 120_000, () => shell.stderr.includes('section_end:'));
        const { stdout } = await debug.world.mint(
          'debug',
          'list',
          '--json',
          '--leases',
          'dynamodb:mint-leases',
        );
        const [open] = JSON.parse(stdout) as { readonly lease: string; readonly project: string }[];
        assert.equal(open?.project, 'group-web');
        const ended = await debug.world.mint(
          'debug',
          'end',
          open?.lease ?? '',
          '--leases',
          'dynamodb:mint-leases',
        );
        assert.equal(ended.status, 0, ended.stderr);
      });
      assert.equal(script.status, 2, script.stderr);
      assert.equal(debug.world.cloud.instances.get(runner.instance)?.state, 'terminated');
      await assertClean(runner, afterScript);
    });

    test('no launch, a VM that never answers, a user without keys', async () => {
      const none = await makeRunner({ launches: false });
      const first = await runGitLab(none, { MINT_DEBUG: '1' });
      assert.notEqual(first.script.status, 0);
      await assertClean(none, first.afterScript);
      const silent = await makeRunner({ answers: false });
      const second = await runGitLab(silent, { MINT_DEBUG: '1' });
      assert.equal(second.script.status, 1, second.script.stderr);
      await assertClean(silent, second.afterScript);
      const keyless = await makeRunner({ make: 'exit 2' });
      const third = await runGitLab(keyless, { MINT_DEBUG: '1' });
      assert.equal(third.script.status, 2, third.script.stderr);
      assert.match(third.script.stderr, /warning: there will be no debug access/);
      await assertClean(keyless, third.afterScript);
    });

    test('cancelled: after_script terminates the instance', async () => {
      const runner = await makeRunner({ make: 'echo running; sleep 300' });
      const { script, afterScript } = await runGitLab(runner, {}, async (shell) => {
        await shell.until(/^running$/m, 120_000);
        shell.kill('SIGKILL');
      });
      assert.notEqual(script.status, 0);
      await assertClean(runner, afterScript);
    });
  });
});
