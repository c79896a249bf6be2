/** The numbers of messages that are sent unencrypted: RFC 4250 §4.1.2, RFC 4419 §5. */
export const SSH_MSG_DISCONNECT = 1;
export const SSH_MSG_IGNORE = 2;
export const SSH_MSG_UNIMPLEMENTED = 3;
export const SSH_MSG_DEBUG = 4;
export const SSH_MSG_KEXINIT = 20;
export const SSH_MSG_NEWKEYS = 21;
/** Diffie-Hellman, ECDH and the hybrid methods all use these numbers. */
export const SSH_MSG_KEX_INIT = 30;
export const SSH_MSG_KEX_REPLY = 31;
export const SSH_MSG_KEX_DH_GEX_REQUEST_OLD = 30;
export const SSH_MSG_KEX_DH_GEX_GROUP = 31;
export const SSH_MSG_KEX_DH_GEX_INIT = 32;
export const SSH_MSG_KEX_DH_GEX_REPLY = 33;
export const SSH_MSG_KEX_DH_GEX_REQUEST = 34;
