/** Each failure of the service: its code, its hint, and no secrets. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Attempt, explainFailure, explainNoCredentials } from '../../src/aws/errors.ts';
import type { Source } from '../../src/aws/requests.ts';
import type { WireFailureName } from '../../src/demo/wire-failure.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { demoAccessKey } from '../cloud/cloud.ts';
import { failureOf, instanceId, request, setUp } from './setup.ts';

const answers: readonly (readonly [WireFailureName, ErrorCode, RegExp])[] = [
  ['AuthException', 'aws-denied', /ec2-instance-connect:SendSSHPublicKey .*ec2:osuser is ubuntu/],
  ['AccessDeniedException', 'aws-denied', /ec2-instance-connect:SendSSHPublicKey .*ec2:osuser is ubuntu/],
  ['ExpiredTokenException', 'aws-credentials', /AWS_SESSION_TOKEN.*aws sso login/],
  ['UnrecognizedClientException', 'aws-credentials', /AWS_ACCESS_KEY_ID/],
  ['InvalidSignatureException', 'aws-credentials', /AWS_SECRET_ACCESS_KEY/],
  ['IncompleteSignatureException', 'aws-credentials', /AWS_ACCESS_KEY_ID/],
  ['InvalidArgsException', 'push-failed', /instance and user .* ssh\.toml/],
  [
    'EC2InstanceNotFoundException',
    'vm-not-found',
    /region.*recreated.*aws ec2 describe-instances --instance-ids i-/,
  ],
  [
    'EC2InstanceStateInvalidException',
    'vm-not-running',
    /aws ec2 start-instances --instance-ids i-\w+ --region us-east-1/,
  ],
  ['EC2InstanceUnavailableException', 'vm-not-running', /aws ec2 start-instances/],
  ['ThrottlingException', 'aws-throttled', /wait/],
  ['ServiceException', 'push-failed', /again/],
  ['SerializationException', 'push-failed', /aws sts get-caller-identity/],
];

test('every answer of EC2 Instance Connect has its code, its hint and its request id', async (t) => {
  const { cloud, aws, environment } = await setUp(t);
  for (const [name, code, hint] of answers) {
    cloud.faults.failNext(name, 3);
    const error = await failureOf(aws, environment());
    cloud.faults.clear();
    assert.equal(error.code, code, name);
    assert.match(error.hint ?? '', hint, name);
    const requestId = cloud.requests
      .filter(({ operation }) => operation === 'SendSSHPublicKey')
      .at(-1)?.requestId;
    assert.ok(error.message.endsWith(`(request ${requestId})`), `${name}: ${error.message}`);
    assert.doesNotMatch(`${error.message} ${error.hint}`, new RegExp(demoAccessKey.secret));
  }
});

test('retries a throttled push and a lost answer', async (t) => {
  const { cloud, aws, environment } = await setUp(t);
  cloud.faults.failNext('ThrottlingException', 2);
  await aws.push({ environment: environment() }, request);
  cloud.faults.loseAnswers(1);
  await aws.push({ environment: environment() }, request);
  assert.equal(cloud.pushes.length, 3);
});

test('a stopped instance, one of another region, a wrong secret and a wrong user have different messages', async (t) => {
  const { cloud, aws, environment } = await setUp(t);
  const far = await failureOf(aws, environment(), { region: 'eu-west-1', profile: undefined });
  assert.equal(far.code, 'vm-not-found');
  assert.match(far.hint ?? '', /--region eu-west-1/);
  const wrong = await failureOf(aws, environment({ AWS_SECRET_ACCESS_KEY: 'not the right secret' }));
  assert.equal(wrong.code, 'aws-credentials');
  const user = await failureOf(aws, environment(), { osUser: 'not a user' });
  assert.equal(user.code, 'push-failed');
  const instance = cloud.instances.get(instanceId);
  if (instance !== undefined) cloud.instances.set(instanceId, { ...instance, state: 'stopped' });
  assert.equal((await failureOf(aws, environment())).code, 'vm-not-running');
});

const attempt = (more: Partial<Attempt> = {}): Attempt => ({
  operation: 'ec2-instance-connect:SendSSHPublicKey',
  region: 'us-east-1',
  profile: undefined,
  source: { kind: 'environment', profile: undefined, runsProcess: false },
  endpoint: 'https://ec2-instance-connect.us-east-1.amazonaws.com',
  instanceId,
  osUser: 'ubuntu',
  secrets: [],
  ...more,
});

function named(name: string, message: string, more: object = {}): Error {
  return Object.assign(new Error(message), { name }, more);
}

test("puts untrusted text on one line, shortened, without the caller's secrets", () => {
  const token = 'FwoGZXIvYXdzEJr';
  const text = `The canonical string\nshould have been\n x-amz-security-token:${token} ${'y'.repeat(900)}`;
  const error = explainFailure(named('InvalidSignatureException', text), attempt({ secrets: [token, ''] }));
  assert.doesNotMatch(error.message, new RegExp(token));
  assert.doesNotMatch(error.message, /\n/);
  assert.ok(error.message.length < 400);
  const proxy = explainFailure(named('Odd', 'http://anna:geheim99@proxy:3128 said no'), attempt());
  assert.doesNotMatch(proxy.message, /geheim99/);
});

test('every reason for which EC2 does not start an instance has the code and the hint of one', () => {
  const reasons = [
    'VcpuLimitExceeded',
    'InsufficientHostCapacity',
    'UnsupportedOperation',
    'IncorrectSpotRequestState',
  ];
  for (const name of reasons) {
    const failed = named(name, 'not now', { $metadata: { requestId: 'r-1', httpStatusCode: 400 } });
    const error = explainFailure(failed, attempt({ operation: 'ec2:StartInstances' }));
    assert.equal(error.code, 'vm-not-running', name);
    assert.match(error.hint ?? '', /aws ec2 describe-instances --instance-ids i-/);
    assert.equal(explainFailure(failed, attempt({ operation: 'ec2:DescribeInstances' })).code, 'io-failed');
  }
});

test('omits the encoded message of EC2 that only an administrator can decode', () => {
  const text = `You are not authorized to perform this operation. Encoded authorization failure message: ${'aB-_9'.repeat(200)}`;
  const error = explainFailure(
    named('UnauthorizedOperation', text, { $metadata: { requestId: 'r-1' } }),
    attempt({ operation: 'ec2:GetConsoleOutput' }),
  );
  assert.equal(
    error.message,
    `AWS does not allow ec2:GetConsoleOutput on ${instanceId}: You are not authorized to perform this operation (request r-1)`,
  );
});

const source = (kind: Source['kind'], runsProcess = false): Source => ({
  kind,
  profile: 'work',
  runsProcess,
});

test('the hint for rejected credentials depends on where they came from', () => {
  const hintFor = (kind: Source['kind']) =>
    explainFailure(named('ExpiredTokenException', 'expired'), attempt({ source: source(kind) })).hint ?? '';
  assert.equal(hintFor('sso'), 'aws sso login --profile work');
  assert.equal(hintFor('login'), 'aws login --profile work');
  assert.match(hintFor('process'), /credential_process --profile work/);
  assert.match(hintFor('credentials-file'), /\.aws\/credentials/);
  assert.match(hintFor('instance'), /by itself/);
  assert.equal(hintFor('role'), 'aws sso login --profile work');
});

const noCode = { code: undefined, isRefused: false };

test('explains missing credentials by their source, not by the words of the error', () => {
  const explain = (of: Source, error: Error, mfa: Parameters<typeof explainNoCredentials>[2] = noCode) =>
    explainNoCredentials(error, of, mfa, ['s3cr3t-value']);
  // Text about a login in the output of a process does not cause the hint `aws login`.
  const words =
    'credential_process failed with exit status 1\nyour session has expired, run: saml2aws login\n';
  const process = explain(source('process', true), new Error(words));
  assert.equal(
    process.message,
    'the credential_process of profile work failed with exit status 1: your session has expired, run: saml2aws login',
  );
  assert.doesNotMatch(process.hint ?? '', /aws login|sso login/);
  const hostile = explain(
    source('process', true),
    new Error('credential_process failed with exit status 1\n\u001b]0;x\u0007 s3cr3t-value\n'),
  );
  assert.match(hostile.message, /\\u\{1b\}\]0;x\\u\{7\} \[hidden\]$/);
  assert.equal(
    explain(source('sso'), new Error('The SSO session has expired. To refresh this SSO session run …')).hint,
    'aws sso login --profile work',
  );
  const denied = Object.assign(new Error('User x is not authorized to perform: sts:AssumeRole'), {
    name: 'AccessDenied',
  });
  assert.equal(explain(source('role'), denied).code, 'aws-denied');
  const wrongCode = Object.assign(
    new Error('MultiFactorAuthentication failed with invalid MFA one time pass code'),
    {
      name: 'AccessDenied',
    },
  );
  const mfa = explain(source('role'), wrongCode, { code: '123456', isRefused: false });
  assert.equal(mfa.code, 'aws-credentials');
  assert.match(mfa.message, /did not accept the MFA code/);
  assert.match(
    explain(source('role'), denied, { code: undefined, isRefused: true }).message,
    /needs an MFA code/,
  );
});

test('names a wrong clock', () => {
  const skewed = explainFailure(
    named('InvalidSignatureException', 'Signature expired: 20260102T030405Z is now earlier than 2026'),
    attempt(),
  );
  assert.equal(skewed.code, 'aws-credentials');
  assert.match(skewed.hint ?? '', /clock/);
});

test('names the identity in a denial', () => {
  const identity = 'arn:aws:iam::123456789012:user/anna';
  const error = explainFailure(named('AuthException', 'no'), attempt({ identity }));
  assert.match(error.message, /to i-\w+ as ubuntu for arn:aws:iam::123456789012:user\/anna: no$/);
  assert.match(error.hint ?? '', /SendSSHPublicKey .* to arn:aws:iam::123456789012:user\/anna$/);
});

test('reports a thrown value that is not an Error, and an unknown error, as a failed push', () => {
  assert.equal(explainFailure('text', attempt()).code, 'push-failed');
  const error = explainFailure(named('SomethingNewException', 'who knows'), attempt());
  assert.equal(error.code, 'push-failed');
  assert.match(error.message, /SomethingNewException: who knows/);
});
