import { type AuditEntry, appendAudit } from '../platform/audit.ts';
import type { Paths } from '../platform/paths.ts';

/** Records in audit.log what was done with a managed key. */
export function noteKey(
  {
    paths,
    profile,
    vm,
    word,
  }: { readonly paths: Paths; readonly word: string; readonly profile: string; readonly vm: string },
  entry: Pick<AuditEntry, 'event' | 'keyFingerprint'> & Partial<AuditEntry> & { readonly key: string },
): void {
  const command = ['keys', word, ...[profile, vm].filter((given) => given !== '')].join(' ');
  appendAudit(paths, { command, vm: undefined, ...entry });
}
