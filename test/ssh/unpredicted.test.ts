/**
 * A server that tries to show the pinned key to the observer and another one to the client. Clients that skip unexpected
 * messages would accept the other key. The observer must end each of these connections.
 */
import { encodeString, encodeUint32 } from '../../src/ssh/wire.ts';
import {
  disconnect,
  group,
  groupInit,
  groupRequest,
  ignore,
  init,
  kexInit,
  message,
  newHostKey,
  newKeys,
  reply,
  serverBanner,
} from './packets.ts';
import { refused } from './refused.ts';
import {
  banners,
  fromClient,
  fromServer,
  gex,
  groupExchange,
  plainExchange,
  type Turn,
} from './transcript.ts';

const pinned = newHostKey().blob;
const other = newHostKey().blob;

const exchange = plainExchange(pinned);
const upTo = (count: number): Turn[] => exchange.slice(0, count);
const beforeKexInit = upTo(3);
const beforeInit = upTo(4);
const beforeReply = upTo(5);
const beforeNewKeys = upTo(6);
const grouped = groupExchange(pinned);
const beforeGroup = grouped.slice(0, 5);
const beforeGroupInit = grouped.slice(0, 6);
const beforeGroupReply = grouped.slice(0, 7);

refused('a reply before the KEXINIT of the server', beforeKexInit, fromServer(reply(pinned)));
refused('a reply before any KEXINIT', banners, fromServer(reply(pinned)));
refused('a reply right behind the banner', [], fromServer(serverBanner, reply(pinned)));
refused('a reply before the client began', beforeInit, fromServer(reply(pinned)));
refused(
  'a reply before the KEXINIT of the client',
  [...banners, fromServer(kexInit())],
  fromServer(reply(pinned)),
);
refused('a second KEXINIT before the reply', beforeReply, fromServer(kexInit()));
refused('a second KEXINIT that would change the method', beforeReply, fromServer(kexInit(gex)));
refused('a second KEXINIT behind the reply', beforeNewKeys, fromServer(kexInit()));
refused('a second KEXINIT of the client', beforeReply, fromClient(kexInit()));
refused('a second reply with another key', beforeNewKeys, fromServer(reply(other)));
refused('a second reply in the same chunk', beforeReply, fromServer(reply(pinned), reply(other)));
refused('a 33 where a 31 is the reply', beforeReply, fromServer(reply(pinned, 33)));
refused('a 33 behind the reply', beforeNewKeys, fromServer(reply(other, 33)));
refused('NEWKEYS of the server before the reply', beforeReply, fromServer(newKeys));
refused('NEWKEYS of the server before the KEXINITs', banners, fromServer(newKeys));
refused('NEWKEYS of the client before the reply', beforeReply, fromClient(newKeys));
refused('NEWKEYS of the client before its KEX init', beforeInit, fromClient(newKeys));
refused('EXT_INFO before NEWKEYS', beforeNewKeys, fromServer(message(7, encodeUint32(0))));
refused('EXT_INFO before the reply', beforeReply, fromServer(message(7, encodeUint32(0))));
refused('a service message in clear', beforeNewKeys, fromServer(message(6, encodeString('ssh-userauth'))));
refused('message 0', beforeReply, fromServer(message(0)));
refused('message 255', beforeReply, fromServer(message(255)));
refused('a reply behind a disconnect message', beforeReply, fromServer(disconnect, reply(pinned)));
refused('an init of the server', beforeInit, fromServer(init));
refused('a second init of the client', beforeReply, fromClient(init));
refused('a request for a group in another method', beforeInit, fromClient(groupRequest));

refused('in group exchange, a reply under 31', beforeGroup, fromServer(reply(pinned)));
refused('in group exchange, a second group', beforeGroupInit, fromServer(group()));
refused('in group exchange, a reply under 31 behind the group', beforeGroupInit, fromServer(reply(pinned)));
refused(
  'in group exchange, a reply before the client answered the group',
  beforeGroupInit,
  fromServer(reply(pinned, 33)),
);
refused('in group exchange, a reply instead of the group', beforeGroup, fromServer(reply(pinned, 33)));
refused('in group exchange, NEWKEYS behind the group', beforeGroupInit, fromServer(newKeys));
refused("in group exchange, a group behind the client's answer", beforeGroupReply, fromServer(group()));
refused(
  'in group exchange, a reply under 31 behind the reply',
  grouped.slice(0, 8),
  fromServer(reply(other)),
);
refused('in group exchange, NEWKEYS of the client before the reply', beforeGroupReply, fromClient(newKeys));
refused('in group exchange, a client that answers no group', beforeGroup, fromClient(groupInit));

const strictClient = fromClient(kexInit({ keyExchanges: 'curve25519-sha256,kex-strict-c-v00@openssh.com' }));
const strictServer = fromServer(kexInit({ keyExchanges: 'curve25519-sha256,kex-strict-s-v00@openssh.com' }));
const strict = [...banners, strictClient, strictServer];
refused(
  'a stray before a KEXINIT that turns out strict',
  [...banners, fromServer(ignore), strictClient],
  strictServer,
);
refused('a stray between two strict KEXINITs', [...banners, strictServer, fromServer(ignore)], strictClient);
refused(
  'a stray of the client before a strict KEXINIT',
  [...banners, fromClient(ignore), strictClient],
  strictServer,
);
refused('a stray in a strict key exchange', strict, fromServer(ignore));
refused(
  'a stray behind a strict reply',
  [...strict, fromClient(init), fromServer(reply(pinned))],
  fromServer(ignore),
);
refused('a stray of the client in a strict key exchange', strict, fromClient(ignore));
refused(
  'a stray in a strict key exchange where nothing was agreed on',
  [
    ...banners,
    strictClient,
    fromServer(kexInit({ keyExchanges: 'ecdh-sha2-nistp256,kex-strict-s-v00@openssh.com' })),
  ],
  fromServer(ignore),
);

const otherFirst = { keyExchanges: 'ecdh-sha2-nistp256,curve25519-sha256', follows: true };
for (const number of [31, 33, 21]) {
  refused(
    `a server's wrong guess under ${number}, which a client may not skip,`,
    [...banners, fromClient(kexInit()), fromServer(kexInit(otherFirst))],
    fromServer(reply(pinned, number)),
  );
  refused(
    `a server's guess under ${number} before the client's KEXINIT`,
    [...banners, fromServer(kexInit(otherFirst))],
    fromServer(reply(pinned, number)),
  );
}
refused(
  "a server's guess that turns out right, and which nothing expects,",
  [...banners, fromServer(kexInit({ follows: true })), fromServer(message(30, encodeString('guess')))],
  fromClient(kexInit()),
);
refused(
  'a second guess',
  [...banners, fromServer(kexInit(otherFirst)), fromServer(message(30, encodeString('guess')))],
  fromServer(message(30, encodeString('guess'))),
);
refused(
  "a reply to a client's wrong guess",
  [...banners, fromServer(kexInit()), fromClient(kexInit({ ...otherFirst }), init)],
  fromServer(reply(pinned)),
);
refused(
  "a client's KEX init that it did not announce",
  [...banners, fromClient(kexInit())],
  fromClient(init),
);

const nothingInCommon = [
  ...banners,
  fromClient(kexInit()),
  fromServer(kexInit({ keyExchanges: 'ecdh-sha2-nistp256' })),
];
for (const bytes of [reply(pinned), reply(pinned, 33), newKeys, kexInit()])
  refused(`message ${bytes[5]} where nothing was agreed on`, nothingInCommon, fromServer(bytes));
