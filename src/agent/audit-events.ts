/** What the agent records of a login: in audit.log, with the pin, and for the next connection. No login fails if it cannot. */
import { type AuditEvent, appendAudit, auditProblem } from '../platform/audit.ts';
import { isDirect } from '../vms/candidates.ts';
import type { AgentContext } from './context.ts';
import type { Credential, CredentialContext, Login } from './credentials/credential.ts';

/**
 * Records a login after a signature has gone out, so that the client does not wait for it. A client that signs without
 * asking first may have a second key sign: then the login has two records, and the last one has the key that counts.
 */
export function recordLogin(context: CredentialContext, login: Login, credential: Credential): void {
  const { fingerprint, requestId } = credential;
  setImmediate(() => {
    recordEvent(context, login, 'login', fingerprint, requestId);
    credential.recordUse();
    try {
      context.trust.noteLogin(login.vm.name);
    } catch (error) {
      context.log(`${login.vm.name}: cannot record the login: ${String(error)}`);
    }
    // A user who names every instance in ssh.toml causes no call that lists VMs.
    if (login.target.isOwnByTag) context.blockRefresh.afterLogin(login.caller);
  });
}

/**
 * Records the address for the next connection, which dials it at once. Only the first candidate counts, and only if it
 * was reached directly.
 * @param address where the connection goes; `host` is undefined if no host key was checked
 */
export function recordAddress(
  { lastAddresses }: AgentContext,
  { vm, target }: Login,
  { host, port }: { readonly host: string | undefined; readonly port: number },
): void {
  // A client may be authorized before the target is known.
  const [first] = target.resolved?.candidates ?? [];
  if (first === undefined || !isDirect(first) || first.host !== host) return;
  lastAddresses.note(vm.name, { host: first.host, port });
}

/**
 * Writes one event to audit.log. If that fails, the agent log and the user are told.
 * @param fingerprint of the key that the event is about
 */
export function recordEvent(
  { paths, aws, log }: AgentContext,
  { vm, caller, settings, user, target, tell }: Login,
  event: AuditEvent,
  fingerprint: string | undefined,
  requestId?: string,
): void {
  const isRecorded = appendAudit(paths, {
    event,
    command: 'proxy',
    vm: vm.name,
    callerArn: aws.knownIdentity(caller, settings)?.arn,
    instance: target.resolved?.instance,
    user,
    requestId,
    keyFingerprint: fingerprint,
  });
  if (isRecorded) return;
  const problem =
    auditProblem(paths)?.message ?? `nothing could be recorded in ${paths.audit}: the disk may be full`;
  log(`${vm.name}: ${problem}`);
  tell(problem);
}
