/** Appends COUNT lines to the audit log of the directory DIR, each marked with NAME. */
import { appendAudit } from '../../../src/platform/audit.ts';
import { resolvePaths } from '../../../src/platform/paths.ts';

const [configDir, name = '', count = '0'] = process.argv.slice(2);
const paths = resolvePaths({ configDir });
for (let at = 0; at < Number(count); at += 1) {
  const written = appendAudit(paths, {
    event: 'push',
    command: 'proxy',
    vm: name,
    requestId: String(at),
    // Long enough that writes which are not whole would show.
    user: 'x'.repeat(400),
  });
  if (!written) process.exitCode = 1;
}
