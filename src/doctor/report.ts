/** `mint-ssh doctor --report`: a page for the administrator of an AWS account, as Markdown. */
import type { Identity } from '../aws/requests.ts';
import { version } from '../version.ts';
import type { Finding } from './check.ts';

export interface ReportedFinding extends Finding {
  /** The name of its check. */
  readonly check: string;
}

export interface ReportInput {
  readonly findings: readonly ReportedFinding[];
  /** Undefined without valid credentials. */
  readonly identity: Identity | undefined;
  readonly region: string | undefined;
  /** The instance ID, if known. */
  readonly instance: string | undefined;
  /** The user of the VM to log in as. */
  readonly user: string | undefined;
}

/** @returns Markdown with the findings and an IAM policy that allows the denied actions; it contains no secrets */
export function administratorReport(input: ReportInput): string {
  const { findings, identity, region, instance } = input;
  const denied = findings.flatMap(({ deniedAction }) => deniedAction ?? []);
  return [
    `# mint-ssh ${version}: ${new Date().toISOString().slice(0, 10)}`,
    '',
    `- caller: ${identity?.arn ?? 'not known: no valid AWS credentials'}`,
    `- account: ${identity?.account ?? 'not known'}`,
    `- region: ${region ?? 'not known'}`,
    `- instance: ${instance ?? 'not known'}`,
    '',
    '## Missing permissions',
    '',
    ...(denied.length === 0 ? ['No denied action was found.'] : policyText(denied, input)),
    '',
    '## Checks',
    '',
    ...findings.map(({ status, check, message }) => `- ${status}: ${check}: ${message}`),
  ].join('\n');
}

/** Actions for which EC2 supports no resource-level permissions. */
const withoutResource = new Set(['ec2:DescribeInstances', 'ec2:DescribeImages']);

function policyText(denied: readonly string[], input: ReportInput): string[] {
  const { identity, region = '*', instance = '*', user } = input;
  const partition = /^arn:([a-z-]+):/.exec(identity?.arn ?? '')?.[1] ?? 'aws';
  const account = identity?.account ?? '*';
  const Statement = denied.map((action) => ({
    Effect: 'Allow',
    Action: action,
    Resource: withoutResource.has(action)
      ? '*'
      : `arn:${partition}:ec2:${region}:${account}:instance/${instance}`,
    ...(action.endsWith(':SendSSHPublicKey') && user !== undefined
      ? { Condition: { StringEquals: { 'ec2:osuser': user } } }
      : {}),
  }));
  const policy = JSON.stringify({ Version: '2012-10-17', Statement }, undefined, 2);
  return [`Attach this policy to ${identity?.arn ?? 'the caller'}:`, '', '```json', policy, '```'];
}
