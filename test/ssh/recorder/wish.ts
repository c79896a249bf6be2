/** The recordings: which client, which server, and the algorithms that they negotiate. */
export interface Wish {
  readonly client: 'openssh' | 'dropbear' | 'ssh2';
  readonly server: 'openssh' | 'dropbear' | 'tinysshd' | 'ssh2';
  readonly keyExchange: string;
  readonly hostKeyAlgorithm: string;
  /** The methods that the server offers, in its order, if there are several. */
  readonly serverKeyExchanges?: string;
  /** Both programs come from a separate, newer Debian release. */
  readonly release?: 'trixie';
}

const curves = ['curve25519-sha256', 'ecdh-sha2-nistp256', 'ecdh-sha2-nistp384', 'ecdh-sha2-nistp521'];
const groups = [
  'diffie-hellman-group14-sha256',
  'diffie-hellman-group16-sha512',
  'diffie-hellman-group18-sha512',
];
const groupExchange = 'diffie-hellman-group-exchange-sha256';
const sntrup = 'sntrup761x25519-sha512@openssh.com';
const curve = 'curve25519-sha256';

function each(
  pair: Pick<Wish, 'client' | 'server'>,
  keyExchanges: readonly string[],
  hostKeyAlgorithm = 'ssh-ed25519',
): Wish[] {
  return keyExchanges.map((keyExchange) => ({ ...pair, keyExchange, hostKeyAlgorithm }));
}

export const wishes: readonly Wish[] = [
  ...each({ client: 'openssh', server: 'openssh' }, [...curves, sntrup, ...groups, groupExchange]),
  ...each({ client: 'openssh', server: 'openssh' }, [curve], 'ecdsa-sha2-nistp256'),
  ...each({ client: 'openssh', server: 'openssh' }, [curve, groupExchange], 'rsa-sha2-512'),
  ...each({ client: 'openssh', server: 'openssh' }, ['mlkem768x25519-sha256', 'sntrup761x25519-sha512']).map(
    (wish): Wish => ({ ...wish, release: 'trixie' }),
  ),
  ...each({ client: 'openssh', server: 'dropbear' }, [...curves, 'diffie-hellman-group14-sha256']),
  ...each({ client: 'openssh', server: 'dropbear' }, [curve], 'ecdsa-sha2-nistp256'),
  ...each({ client: 'openssh', server: 'dropbear' }, [curve], 'rsa-sha2-256'),
  ...each({ client: 'openssh', server: 'tinysshd' }, [curve, sntrup]),
  ...each({ client: 'openssh', server: 'ssh2' }, [...curves, ...groups]),
  // dropbear's client guesses its first packet: right if the server prefers the same method, else wrong.
  ...each({ client: 'dropbear', server: 'openssh' }, [...curves, 'diffie-hellman-group14-sha256']),
  ...each({ client: 'dropbear', server: 'openssh' }, [curve]).map(
    (wish): Wish => ({ ...wish, serverKeyExchanges: `ecdh-sha2-nistp256,${curve}` }),
  ),
  // ssh2's server hangs after a right guess, so this guess is wrong too.
  ...each({ client: 'dropbear', server: 'ssh2' }, [curve]).map(
    (wish): Wish => ({ ...wish, serverKeyExchanges: `curve25519-sha256@libssh.org,${curve}` }),
  ),
  ...each({ client: 'dropbear', server: 'openssh' }, [curve], 'rsa-sha2-256'),
  ...each({ client: 'dropbear', server: 'dropbear' }, [curve]),
  ...each({ client: 'dropbear', server: 'tinysshd' }, [curve]),
  ...each({ client: 'ssh2', server: 'openssh' }, [...curves, ...groups, groupExchange]),
  ...each({ client: 'ssh2', server: 'dropbear' }, [curve]),
  ...each({ client: 'ssh2', server: 'tinysshd' }, [curve]),
  ...each({ client: 'ssh2', server: 'ssh2' }, [curve]),
];

/** The name of a recording's file. */
export function nameOf(wish: Wish): string {
  const peers = [wish.client, wish.server].map((peer) => (wish.release ? `${peer}-${wish.release}` : peer));
  const guess = wish.serverKeyExchanges === undefined ? [] : ['wrong-guess'];
  const method = wish.keyExchange.replace(/@.*/, '');
  return [...peers, method, wish.hostKeyAlgorithm, ...guess].join('_');
}
