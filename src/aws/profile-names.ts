/**
 * The names in the AWS files, for completion: read without the SDK, which takes longer to load than a user waits for a
 * shell to complete a word.
 *
 * The form of the files: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
 */
import { readFileSync } from 'node:fs';
import { isRegion } from '../settings/region.ts';
import { awsFiles } from './credentials.ts';

/** The profiles and regions that the AWS files of an environment name, each once, in their order. */
export function namesInAwsFiles(environment: Readonly<Record<string, string | undefined>>): {
  readonly profiles: readonly string[];
  readonly regions: readonly string[];
} {
  const { config, credentials } = awsFiles(environment);
  const inConfig = linesOf(config).flatMap(
    (line) => /^\[\s*(?:profile\s+(.+?)|(default))\s*\]/.exec(line)?.slice(1) ?? [],
  );
  const inCredentials = linesOf(credentials).flatMap((line) => /^\[\s*(.+?)\s*\]/.exec(line)?.slice(1) ?? []);
  const profiles = [...inConfig, ...inCredentials].filter((name) => name !== undefined);
  const regions = [config, credentials]
    .flatMap(linesOf)
    .flatMap((line) => /^\s*region\s*=\s*(\S+)/.exec(line)?.[1] ?? [])
    .filter(isRegion);
  return { profiles: [...new Set(profiles)], regions: [...new Set(regions)] };
}

/** @returns no lines for a file that does not exist or cannot be read */
function linesOf(path: string): readonly string[] {
  try {
    return readFileSync(path, 'utf8').split(/\r?\n/);
  } catch {
    return [];
  }
}
