/** Why there are no credentials, or none that AWS takes, and the command that gets new ones. */
import { MintError } from '../errors.ts';
import { type Attempt, profileOption } from './attempt.ts';
import { quote, said } from './quote.ts';

/** What the SDK's providers throw, by name. */
const providers: ReadonlySet<string> = new Set([
  'CredentialsProviderError',
  'TokenProviderError',
  'ProviderError',
  'InstanceMetadataV1FallbackError',
]);

/** What a provider says that was not asked for anything, which is no one's mistake. */
const notAsked =
  /skipping|Unable to find environment variable|Could not resolve credentials using profile|could not be found in shared|did not contain credential_process|Web identity configuration not specified|Metadata Service|EC2_METADATA|any providers|TimeoutError|Error response received/i;

/** Takes what the credential chain threw; gives `aws-credentials`, or `aws-denied` for a role one may not take. */
export function noCredentials(error: unknown, attempt: Attempt): MintError {
  const thrown = error instanceof Error ? error.message : String(error);
  // The chain goes on to the next provider and forgets why the profile's own one failed.
  const earlier = attempt.tried?.find((reason) => !notAsked.test(reason));
  const text = /any providers/.test(thrown) ? (earlier ?? thrown) : thrown;
  const details = { cause: error, hint: '' };
  if (/AccessDenied|ForbiddenException/.test(`${error instanceof Error ? error.name : ''} ${text}`)) {
    details.hint = `ask who runs your AWS for the role, or change it in: aws configure list${profileOption(attempt)}`;
    const what = `the profile's role is not yours to take: ${quote(text, attempt)}`;
    return new MintError('aws-denied', what, details);
  }
  if (/\bSSO\b|sso login|UnauthorizedException|Session token not found/i.test(text)) {
    details.hint = `aws sso login${profileOption(attempt)}`;
    const what = quote(text.replace(/To refresh this SSO session.*/s, ''), attempt);
    return new MintError('aws-credentials', `no AWS credentials: ${what}`, details);
  }
  if (/aws login|login session|re-?authenticate/i.test(text)) {
    details.hint = `aws login${profileOption(attempt)}`;
    return new MintError('aws-credentials', `no AWS credentials: ${quote(text, attempt)}`, details);
  }
  const command = /^Command failed: [^\n]*\n?(.*)$/s.exec(text);
  if (command !== null) {
    // The command line may carry a password, so only what the command said at its end is shown.
    const last = quote(command[1]?.trim().split('\n').at(-1) ?? '', attempt);
    details.hint = `run what \`aws configure get credential_process${profileOption(attempt)}\` shows, and mend that`;
    const what = `the credential_process of the profile failed${last === '' ? '' : `: ${last}`}`;
    return new MintError('aws-credentials', what, details);
  }
  if (
    attempt.profile !== undefined &&
    /Could not (load|resolve) credentials|could not be found/i.test(text)
  ) {
    details.hint = `aws configure list-profiles shows the profiles there are; make one with: aws configure sso${profileOption(attempt)}`;
    const what = `the profile ${quote(attempt.profile, attempt)} has no credentials, or is not there`;
    return new MintError('aws-credentials', what, details);
  }
  if (/Could not (load|resolve) credentials/.test(text)) {
    details.hint = `aws sso login${profileOption(attempt)}, or name a profile in ssh.toml or AWS_PROFILE`;
    return new MintError('aws-credentials', 'there are no AWS credentials', details);
  }
  details.hint = `see what is wrong with: aws sts get-caller-identity${profileOption(attempt)}`;
  return new MintError('aws-credentials', `no AWS credentials: ${quote(text, attempt)}`, details);
}

/** Whether `error` comes from a provider of credentials and not from the service called. */
export function isProviderError(error: unknown): boolean {
  return error instanceof Error && providers.has(error.name);
}

/** Credentials that were found, and that AWS does not take (any more). */
export function rejectedCredentials(error: Error, attempt: Attempt, why: 'expired' | 'invalid'): MintError {
  const what = why === 'expired' ? 'the AWS credentials have expired' : 'AWS does not know these credentials';
  return new MintError('aws-credentials', `${what}: ${said(error, attempt)}`, {
    hint: renewal(attempt, why),
    cause: error,
  });
}

function renewal(attempt: Attempt, why: 'expired' | 'invalid'): string {
  const from = attempt.sources?.join(' ') ?? '';
  const profile = profileOption(attempt);
  if (/LOGIN/.test(from)) return `aws login${profile}`;
  if (/PROCESS/.test(from)) {
    return `run what \`aws configure get credential_process${profile}\` shows, and mend that`;
  }
  if (/ENV_VARS/.test(from) || (from === '' && attempt.environmentKeys && profile === '')) {
    return 'export new AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or unset them and: aws sso login';
  }
  if (/CREDENTIALS_PROFILE\b(?!_)|CREDENTIALS_CODE/.test(from)) {
    const file = 'put new keys into ~/.aws/credentials';
    return why === 'expired'
      ? `${file}, or: aws sso login${profile}`
      : `${file} with: aws configure${profile}`;
  }
  if (/IMDS|HTTP/.test(from))
    return 'wait a moment and connect again: this machine gets its credentials by itself';
  return `aws sso login${profile}`;
}
