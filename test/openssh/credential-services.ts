/**
 * The services that issue temporary credentials, on one port of loopback: STS (AssumeRole, with a chain and an MFA
 * code; AssumeRoleWithWebIdentity; GetCallerIdentity), the SSO portal and a container's endpoint.
 */
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface TemporaryKey {
  readonly id: string;
  readonly secret: string;
  readonly token: string;
}

export interface CredentialServices {
  readonly endpoint: string;
  /** By the ARN of the role, by SSO access token, by web identity token and by the path of the container's endpoint. */
  readonly keys: Map<string, TemporaryKey>;
  /** The MFA code that an AssumeRole with a serial number has to have. */
  readonly code: string;
  /** How many requests there were, by action. */
  readonly counts: Map<string, number>;
  close(): void;
}

const expiration = () => new Date(Date.now() + 3_600_000).toISOString();

export async function startCredentialServices(): Promise<CredentialServices> {
  const keys = new Map<string, TemporaryKey>();
  const counts = new Map<string, number>();
  const server = createServer(async (request, response) => {
    const { status, body, type = 'text/xml' } = answer(request, new URLSearchParams(await bodyOf(request)));
    response.writeHead(status, {
      'content-type': type,
      ...(status === 401 ? { 'x-amzn-errortype': 'UnauthorizedException' } : {}),
    });
    response.end(body);
  });
  const services: CredentialServices = {
    endpoint: '',
    keys,
    counts,
    code: '765432',
    close() {
      server.close();
      server.closeAllConnections();
    },
  };

  function answer(
    { url = '', headers }: IncomingMessage,
    form: URLSearchParams,
  ): { readonly status: number; readonly body: string; readonly type?: string } {
    const json = 'application/json';
    if (url.startsWith('/container')) {
      const key = keys.get(url);
      const { id: AccessKeyId = '', secret: SecretAccessKey = '', token: Token = '' } = key ?? {};
      return {
        status: 200,
        type: json,
        body: JSON.stringify({ AccessKeyId, SecretAccessKey, Token, Expiration: expiration() }),
      };
    }
    const bearer = headers['x-amz-sso_bearer_token'];
    if (bearer !== undefined) {
      const key = keys.get(String(bearer));
      if (key === undefined)
        return {
          status: 401,
          type: json,
          body: JSON.stringify({ message: 'Session token not found or invalid' }),
        };
      const { id: accessKeyId, secret: secretAccessKey, token: sessionToken } = key;
      const roleCredentials = {
        accessKeyId,
        secretAccessKey,
        sessionToken,
        expiration: Date.now() + 3_600_000,
      };
      return { status: 200, type: json, body: JSON.stringify({ roleCredentials }) };
    }
    const action = form.get('Action') ?? '';
    counts.set(action, (counts.get(action) ?? 0) + 1);
    const signer = /Credential=(\w+)\//.exec(headers.authorization ?? '')?.[1] ?? '';
    if (action === 'GetCallerIdentity') {
      const arn = `arn:aws:iam::123456789012:user/${signer.toLowerCase()}`;
      return {
        status: 200,
        body: xml(action, `<Arn>${arn}</Arn><UserId>${signer}</UserId><Account>123456789012</Account>`),
      };
    }
    const key = keys.get(form.get('WebIdentityToken') ?? form.get('RoleArn') ?? '');
    if (key === undefined) return refusal('User x is not authorized to perform: sts:AssumeRole');
    if (form.has('SerialNumber') && form.get('TokenCode') !== services.code)
      return refusal('MultiFactorAuthentication failed with invalid MFA one time pass code.');
    // A role of a chain is assumed with the credentials of the one before.
    const needed = keys.get(`source of ${form.get('RoleArn')}`);
    if (needed !== undefined && needed.id !== signer) return refusal(`${signer} may not assume this role`);
    return {
      status: 200,
      body: xml(
        action,
        `<Credentials><AccessKeyId>${key.id}</AccessKeyId><SecretAccessKey>${key.secret}</SecretAccessKey>` +
          `<SessionToken>${key.token}</SessionToken><Expiration>${expiration()}</Expiration></Credentials>` +
          `<AssumedRoleUser><Arn>${form.get('RoleArn')}</Arn><AssumedRoleId>AROA:x</AssumedRoleId></AssumedRoleUser>`,
      ),
    };
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(services, { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
}

function xml(action: string, result: string): string {
  return `<${action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><${action}Result>${result}</${action}Result><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></${action}Response>`;
}

function refusal(message: string): { readonly status: number; readonly body: string } {
  const body = `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>${message}</Message></Error><RequestId>r</RequestId></ErrorResponse>`;
  return { status: 403, body };
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of request) body += String(chunk);
  return body;
}
