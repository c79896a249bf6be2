/**
 * EC2 Instance Connect: a public key is pushed to the instance while the connection is being made, and the VM accepts
 * it for 60 seconds.
 */
import { MintError } from '../../errors.ts';
import { appendAudit } from '../../platform/audit.ts';
import { parseHostKey } from '../../ssh/hostkey.ts';
import type { SigningKey } from '../../ssh/key-signature.ts';
import { usualUsers } from '../../vms/image-user.ts';
import type { RefusalWords } from '../control/protocol.ts';
import type { Credential, CredentialContext, Login } from './credential.ts';
import { type Push, pushLifetimeMs, pushLimitMs } from './ephemeral-key.ts';

/** The key that a `PushedCredential` pushes: the VM's ephemeral one, or one of the user's own (own.ts). */
export interface KeyToPush {
  /** The client has the private key itself. */
  readonly isSignedElsewhere: boolean;
  /** The key with which the agent signs; undefined if the client signs. */
  readonly signingKey: SigningKey | undefined;
  readonly fingerprint: string | undefined;
  readonly refusal: RefusalWords;
  /**
   * A live push for `scope`, else a new one.
   * @param send makes the call to AWS, and returns the id of the request
   */
  push(scope: string, send: (line: string) => Promise<string>): Push;
  release(): void;
}

/** The VM's ephemeral key, which the agent makes, keeps and signs with. */
export function ephemeralKey({ vm, user, settings, isEstablished }: Login): KeyToPush {
  const holder = {};
  vm.key.use(settings.keyType);
  if (!isEstablished) vm.key.connecting(holder);
  return {
    isSignedElsewhere: false,
    get signingKey() {
      return vm.key.current;
    },
    get fingerprint() {
      const pair = vm.key.current;
      return pair && parseHostKey(pair.blob).fingerprint;
    },
    refusal: {
      code: 'login-refused',
      message: `${vm.name} refused the keys that ssh offered for user ${user}`,
      hint:
        `set user for [vm.${vm.name}] in ssh.toml if the VM has no user ${user}; usual ones: ${usualUsers}. ` +
        'Else check that ec2-instance-connect is installed on the VM. ' +
        'With -i and IdentitiesOnly=yes ssh does not offer the pushed key.' +
        (settings.keyType === 'ed25519'
          ? ' Where sshd accepts no Ed25519 keys (FIPS mode), set key_type = "rsa-3072" in ssh.toml'
          : ''),
    },
    push: (scope, send) => vm.key.push(scope, send),
    release: () => vm.key.settled(holder),
  };
}

export class PushedCredential implements Credential {
  readonly #context: Pick<CredentialContext, 'aws' | 'paths' | 'log'>;
  readonly #login: Login;
  readonly #key: KeyToPush;
  #push: Push | undefined;
  /** The instance that the push is for. */
  #pushedTo: string | undefined;
  #authorizing: Promise<Push> | undefined;
  /** The push of an earlier connection was complete when this connection needed one. */
  #foundPushed = false;

  constructor(context: Pick<CredentialContext, 'aws' | 'paths' | 'log'>, login: Login, key: KeyToPush) {
    this.#context = context;
    this.#login = login;
    this.#key = key;
  }

  get isSignedElsewhere(): boolean {
    return this.#key.isSignedElsewhere;
  }

  get fingerprint(): string | undefined {
    return this.#key.fingerprint;
  }

  get requestId(): string | undefined {
    return this.#push?.requestId;
  }

  get listed(): Buffer | undefined {
    return this.#key.signingKey?.blob;
  }

  get refusal(): RefusalWords {
    return this.#key.refusal;
  }

  get signingKey(): SigningKey | undefined {
    return this.#push !== undefined && this.#push.age() < pushLimitMs ? this.#key.signingKey : undefined;
  }

  get remainingMs(): number {
    return pushLimitMs - (this.#push?.age() ?? pushLimitMs);
  }

  async begin(): Promise<void> {
    await this.#pushed();
  }

  async begun(): Promise<void> {
    await this.#push?.done.catch(() => {});
  }

  retarget(): void {
    const before = this.#pushedTo;
    if (before !== undefined && before !== this.#login.resolved().instance) this.#startPush();
  }

  async authorize(): Promise<number | undefined> {
    const push = await this.#pushed();
    return this.#foundPushed ? undefined : push.milliseconds;
  }

  release(): void {
    this.#key.release();
  }

  recordUse(): void {}

  /** Resolves once a push has succeeded and is fresh. */
  #pushed(): Promise<Push> {
    this.#authorizing ??= this.#pushUntilFresh().finally(() => {
      this.#authorizing = undefined;
    });
    return this.#authorizing;
  }

  async #pushUntilFresh(): Promise<Push> {
    for (let hasRecovered = false; ; ) {
      const push = this.#push ?? this.#startPush();
      try {
        await push.done;
      } catch (error) {
        if (push !== this.#push) continue;
        if (hasRecovered || !(await this.#login.recover(error))) throw error;
        hasRecovered = true;
        this.#startPush();
        continue;
      }
      if (push !== this.#push) continue;
      if (push.age() < pushLifetimeMs) return push;
      this.#startPush();
    }
  }

  #startPush(): Push {
    const { caller, settings, user, vm } = this.#login;
    const { profile, region } = settings;
    const { instance } = this.#login.resolved();
    if (instance === undefined) {
      throw new MintError(
        'vm-not-found',
        `the instance of ${vm.name} is not known, and a key can be pushed to an instance only`,
        { hint: `set access of [vm.${vm.name}] in ssh.toml` },
      );
    }
    const scope = JSON.stringify([this.#context.aws.scope(caller, { profile }), region, instance, user]);
    this.#pushedTo = instance;
    this.#push = this.#key.push(scope, (line) => this.#send(line, instance));
    this.#foundPushed = this.#push.milliseconds !== undefined;
    return this.#push;
  }

  async #send(line: string, instance: string): Promise<string> {
    const { caller, settings, user, vm } = this.#login;
    const { profile, region } = settings;
    const { requestId } = await this.#context.aws.push(caller, {
      profile,
      region,
      instanceId: instance,
      osUser: user,
      publicKey: line,
    });
    this.#context.log(`${vm.name}: pushed a key for ${user} on ${instance}, request ${requestId}`);
    appendAudit(this.#context.paths, {
      event: 'push',
      command: 'proxy',
      vm: vm.name,
      callerArn: this.#context.aws.knownIdentity(caller, { region, profile })?.arn,
      instance,
      user,
      requestId,
      keyFingerprint: fingerprintOf(line),
    });
    return requestId;
  }
}

function fingerprintOf(line: string): string {
  return parseHostKey(Buffer.from(line.split(' ')[1] ?? '', 'base64')).fingerprint;
}
