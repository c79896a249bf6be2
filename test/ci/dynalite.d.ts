declare module 'dynalite' {
  import type { Server } from 'node:http';

  /** A DynamoDB in this process; see its readme. */
  const dynalite: (options?: { readonly createTableMs?: number }) => Server;
  export = dynalite;
}
