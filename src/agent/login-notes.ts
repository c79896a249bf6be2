/** What is noted of a connection: in audit.log, with the pin, and for the next connection. No login fails for want of it. */
import { type AuditEvent, appendAudit, auditProblem } from '../platform/audit.ts';
import { isDirect } from '../vms/candidates.ts';
import type { Credential, Login } from './credentials/credential.ts';
import type { Services } from './services.ts';

/** After the first signature has gone out: the client waits for that, and for nothing of this. */
export function noteLogin(services: Services, login: Login, credential: Credential): void {
  const { fingerprint, requestId } = credential;
  setImmediate(() => {
    audit(services, login, 'login', fingerprint, requestId);
    credential.recordUse();
    try {
      services.trust.noteLogin(login.vm.name);
    } catch (error) {
      services.log(`${login.vm.name}: cannot note the login: ${String(error)}`);
    }
    // Who names every instance in ssh.toml is asked nothing of AWS that ssh.toml says.
    if (login.destination.isOwnByTag) services.blocks.afterLogin(login.caller);
  });
}

/** For the next connection to dial at once. What is behind another address, or a tunnel, is no place to start with. */
export function noteAddress(
  { lastAddresses }: Services,
  { vm, destination }: Login,
  { host, port }: { readonly host: string | undefined; readonly port: number },
): void {
  // A client may be let in that has not waited to hear where to.
  const [first] = destination.place?.candidates ?? [];
  if (first === undefined || !isDirect(first) || first.host !== host) return;
  lastAddresses.note(vm.name, { host: first.host, port });
}

/** @param fingerprint of the key that the event is about */
export function audit(
  { paths, aws, log }: Services,
  { vm, caller, settings, user, destination, tell }: Login,
  event: AuditEvent,
  fingerprint: string | undefined,
  requestId?: string,
): void {
  const isRecorded = appendAudit(paths, {
    event,
    command: 'proxy',
    vm: vm.name,
    callerArn: aws.knownIdentity(caller, settings)?.arn,
    instance: destination.place?.instance,
    user,
    requestId,
    keyFingerprint: fingerprint,
  });
  if (isRecorded) return;
  const problem =
    auditProblem(paths)?.message ?? `nothing could be recorded in ${paths.audit}: is the disk full?`;
  log(`${vm.name}: ${problem}`);
  tell(problem);
}
