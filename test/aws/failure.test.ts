/** Each failure of the service: its code, its hint, and nothing in it that must not be there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Attempt } from '../../src/aws/attempt.ts';
import { explainFailure } from '../../src/aws/failure.ts';
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
  const { cloud, workers, environment } = await setUp(t);
  for (const [name, code, hint] of answers) {
    cloud.faults.failNext(name, 3);
    const error = await failureOf(workers, environment());
    cloud.faults.clear();
    assert.equal(error.code, code, name);
    assert.match(error.hint ?? '', hint, name);
    const requestId = cloud.requests.at(-1)?.requestId;
    assert.ok(error.message.endsWith(`(request ${requestId})`), `${name}: ${error.message}`);
    assert.doesNotMatch(`${error.message} ${error.hint}`, new RegExp(demoAccessKey.secret));
  }
});

test('a throttled push and an answer that was lost are tried again, and succeed', async (t) => {
  const { cloud, workers, environment } = await setUp(t);
  cloud.faults.failNext('ThrottlingException', 2);
  await workers.push({ environment: environment() }, request);
  cloud.faults.loseAnswers(1);
  await workers.push({ environment: environment() }, request);
  assert.equal(cloud.pushes.length, 3);
});

test('a stopped instance, one of another region, a wrong secret and a wrong user each have their own words', async (t) => {
  const { cloud, workers, environment } = await setUp(t);
  const far = await failureOf(workers, environment(), { region: 'eu-west-1', profile: undefined });
  assert.equal(far.code, 'vm-not-found');
  assert.match(far.hint ?? '', /--region eu-west-1/);
  const wrong = await failureOf(workers, environment({ AWS_SECRET_ACCESS_KEY: 'not the right secret' }));
  assert.equal(wrong.code, 'aws-credentials');
  const user = await failureOf(workers, environment(), { osUser: 'not a user' });
  assert.equal(user.code, 'push-failed');
  const instance = cloud.instances.get(instanceId);
  if (instance !== undefined) cloud.instances.set(instanceId, { ...instance, state: 'stopped' });
  assert.equal((await failureOf(workers, environment())).code, 'vm-not-running');
});

const attempt = (more: Partial<Attempt> = {}): Attempt => ({
  operation: 'ec2-instance-connect:SendSSHPublicKey',
  stage: 'endpoint',
  region: 'us-east-1',
  profile: undefined,
  environmentKeys: false,
  endpoint: 'https://ec2-instance-connect.us-east-1.amazonaws.com',
  instanceId,
  osUser: 'ubuntu',
  secrets: [],
  ...more,
});

function named(name: string, message: string, more: object = {}): Error {
  return Object.assign(new Error(message), { name }, more);
}

test("text of others is on one line, cut, and without the caller's secrets", () => {
  const token = 'FwoGZXIvYXdzEJr';
  const text = `The canonical string\nshould have been\n x-amz-security-token:${token} ${'y'.repeat(900)}`;
  const error = explainFailure(named('InvalidSignatureException', text), attempt({ secrets: [token, ''] }));
  assert.doesNotMatch(error.message, new RegExp(token));
  assert.doesNotMatch(error.message, /\n/);
  assert.ok(error.message.length < 400);
  const proxy = explainFailure(named('Odd', 'http://anna:geheim99@proxy:3128 said no'), attempt());
  assert.doesNotMatch(proxy.message, /geheim99/);
});

test('what only an administrator can decode is left out of what EC2 says', () => {
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

test('renewing credentials is told by where they came from', () => {
  const hintFor = (...sources: string[]) =>
    explainFailure(named('ExpiredTokenException', 'expired'), attempt({ profile: 'work', sources })).hint ??
    '';
  assert.equal(hintFor('CREDENTIALS_PROFILE_SSO'), 'aws sso login --profile work');
  assert.equal(hintFor('CREDENTIALS_PROFILE_LOGIN', 'CREDENTIALS_LOGIN'), 'aws login --profile work');
  assert.match(
    hintFor('CREDENTIALS_PROFILE_PROCESS', 'CREDENTIALS_PROCESS'),
    /credential_process --profile work/,
  );
  assert.match(hintFor('CREDENTIALS_PROFILE'), /\.aws\/credentials/);
  assert.match(hintFor('CREDENTIALS_IMDS'), /by itself/);
  assert.equal(hintFor(), 'aws sso login --profile work');
});

test('a role that may not be taken is a denial, a clock that is wrong is named', () => {
  const stage = 'credentials';
  const role = explainFailure(
    named('AccessDenied', 'User: x is not authorized to perform: sts:AssumeRole', {
      $metadata: { httpStatusCode: 403 },
    }),
    attempt({ stage }),
  );
  assert.equal(role.code, 'aws-denied');
  const sso = explainFailure(
    named('CredentialsProviderError', 'ForbiddenException: No access'),
    attempt({ stage }),
  );
  assert.equal(sso.code, 'aws-denied');
  const skewed = explainFailure(
    named('InvalidSignatureException', 'Signature expired: 20260102T030405Z is now earlier than 2026'),
    attempt(),
  );
  assert.equal(skewed.code, 'aws-credentials');
  assert.match(skewed.hint ?? '', /clock/);
});

test('what is no Error, and an error nobody foresaw, are still a failed push', () => {
  assert.equal(explainFailure('text', attempt()).code, 'push-failed');
  const error = explainFailure(named('SomethingNewException', 'who knows'), attempt());
  assert.equal(error.code, 'push-failed');
  assert.match(error.message, /SomethingNewException: who knows/);
});
