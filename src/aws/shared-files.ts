import { statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * A text that changes whenever the caller's AWS config or credentials file does. The SDK reads both once and keeps
 * static keys for ever, so a worker is only as good as the files it has read.
 */
export function sharedFilesStamp(environment: Readonly<Record<string, string>>): string {
  const folder = join(environment['HOME'] || homedir(), '.aws');
  const files = [
    environment['AWS_CONFIG_FILE'] || join(folder, 'config'),
    environment['AWS_SHARED_CREDENTIALS_FILE'] || join(folder, 'credentials'),
  ];
  return files.map(stamp).join(' ');
}

function stamp(path: string): string {
  try {
    const found = statSync(path, { bigint: true, throwIfNoEntry: false });
    return found === undefined ? 'none' : `${found.ino}.${found.size}.${found.mtimeNs}`;
  } catch {
    return 'unreadable';
  }
}
