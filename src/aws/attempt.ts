import { shellWord } from '../cli/shell-command.ts';

/** What is known about a call to AWS while it runs; a failure is explained with it. */
export interface Attempt {
  /** As IAM names it, such as `ec2-instance-connect:SendSSHPublicKey`. */
  readonly operation: string;
  /** What the call is waiting for. */
  stage: 'region' | 'credentials' | 'endpoint';
  region: string | undefined;
  profile: string | undefined;
  /** Whether the caller's environment holds access keys of its own. */
  environmentKeys: boolean;
  /** Where the request went, once it is known: scheme, host and port. */
  endpoint?: string | undefined;
  instanceId?: string;
  osUser?: string;
  /** Where the SDK says the credentials came from: its feature names, such as `CREDENTIALS_PROFILE_SSO`. */
  sources?: readonly string[];
  /** What each provider of the credential chain said about why it has none. */
  tried?: readonly string[];
  /** Text that must not show in any message. */
  secrets: string[];
}

/** ` --profile NAME`, quoted where a shell needs it, for a command in a hint. */
export function profileOption(attempt: Attempt): string {
  return attempt.profile === undefined ? '' : ` --profile ${shellWord(attempt.profile)}`;
}

/** ` --region NAME`, likewise. */
export function regionOption(attempt: Attempt): string {
  return attempt.region === undefined ? '' : ` --region ${shellWord(attempt.region)}`;
}

/** Host and port of the endpoint. */
export function endpointHost(attempt: Attempt): string | undefined {
  return attempt.endpoint?.replace(/^https?:\/\//, '');
}
