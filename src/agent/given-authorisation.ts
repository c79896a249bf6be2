import type { Authorisation, Login } from './authorisation.ts';
import { identityRefusal, readIdentity } from './identity-key.ts';
import { loginLimit } from './job-authorisation.ts';

/**
 * `access = "injected"` with `identity`: the VM has the user's own key already, and nothing is pushed.
 * @throws MintError as `readIdentity`
 */
export function givenAuthorisation({ vm, user }: Login, path: string): Authorisation {
  const { fingerprint } = readIdentity(path);
  return {
    fingerprint,
    requestId: undefined,
    isSignedElsewhere: true,
    listed: undefined,
    signingKey: undefined,
    remaining: loginLimit,
    refusal: identityRefusal(vm.name, user, path),
    begin: async () => {},
    begun: async () => {},
    follow: () => {},
    grant: async () => undefined,
    settle: () => {},
    noteLogin: () => {},
  };
}
