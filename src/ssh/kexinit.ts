/** The KEXINIT message, and what two of them negotiate: RFC 4253 §7.1. */
import { WireReader } from './wire.ts';

export interface KexInit {
  readonly keyExchanges: readonly string[];
  readonly hostKeyAlgorithms: readonly string[];
  readonly firstPacketFollows: boolean;
}

export interface Negotiation {
  /** Undefined if the two have none in common. The peers then end the connection themselves. */
  readonly keyExchange: string | undefined;
  readonly hostKeyAlgorithm: string | undefined;
  /** Whether a guessed packet counts. The other side skips it after a wrong guess. */
  readonly guessedRight: boolean;
  /** OpenSSH's PROTOCOL §1.10: until NEWKEYS nothing but the key exchange may be sent. */
  readonly strict: boolean;
}

/**
 * @param body the payload of a KEXINIT after the message number
 * @throws MintError `not-ssh` if it is malformed
 */
export function parseKexInit(body: Buffer): KexInit {
  const reader = new WireReader(body);
  for (let cookie = 0; cookie < 16; cookie++) reader.byte();
  const keyExchanges = reader.nameList();
  const hostKeyAlgorithms = reader.nameList();
  // Ciphers, MACs, compressions and languages, each for both directions, do not matter here.
  for (let list = 0; list < 8; list++) reader.string();
  const firstPacketFollows = reader.boolean();
  reader.uint32();
  reader.end();
  return { keyExchanges, hostKeyAlgorithms, firstPacketFollows };
}

/**
 * Chooses the key exchange method and the host key algorithm: RFC 4253, section 7.1.
 * @returns each undefined if the two sides have none in common
 */
export function negotiate(client: KexInit, server: KexInit): Negotiation {
  const keyExchange = firstCommon(client.keyExchanges, server.keyExchanges);
  const hostKeyAlgorithm = firstCommon(client.hostKeyAlgorithms, server.hostKeyAlgorithms);
  const bothName = (clientName: string, serverName = clientName): boolean =>
    client.keyExchanges.includes(clientName) && server.keyExchanges.includes(serverName);
  // By the RFC a guess is right if both sides prefer the same algorithms. If both sides name dropbear's extension, it is
  // right if the client's first choice was agreed on.
  const rival = bothName('kexguess2@matt.ucc.asn.au')
    ? { keyExchanges: [keyExchange], hostKeyAlgorithms: [hostKeyAlgorithm] }
    : server;
  return {
    keyExchange,
    hostKeyAlgorithm,
    guessedRight:
      client.keyExchanges[0] === rival.keyExchanges[0] &&
      client.hostKeyAlgorithms[0] === rival.hostKeyAlgorithms[0],
    strict: bothName('kex-strict-c-v00@openssh.com', 'kex-strict-s-v00@openssh.com'),
  };
}

function firstCommon(preferred: readonly string[], offered: readonly string[]): string | undefined {
  return preferred.find((name) => offered.includes(name));
}
