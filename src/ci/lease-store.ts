/** Where leases are kept: the one place that all orchestrators of a project look at. */
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import type { Paths } from '../platform/paths.ts';
import { DynamoLeases, type LeaseTable } from './dynamo-leases.ts';
import { FileLeases } from './file-leases.ts';
import type { Holding, Lease, OpenLease } from './lease.ts';

export interface LeaseStore {
  /**
   * Takes the lease's project, where nobody has it or the one who had it is past its time by `now`, and then notes
   * the lease. @returns who has the project, where it is another one
   */
  take(lease: Lease, now: number): Promise<Holding | undefined>;
  /** Every lease whose VM is not known to be destroyed. */
  list(): Promise<readonly OpenLease[]>;
  /** Undefined where its VM is destroyed, or there never was such a lease. */
  find(id: string): Promise<OpenLease | undefined>;
  /** Wants it to end now. False where there is no such lease. */
  askToEnd(id: string): Promise<boolean>;
  /**
   * Takes it upon itself to destroy the VM, until `until`; `by` is any word that tells it from others. False where
   * another one does so at `now`, or the lease is closed.
   */
  beginEnd(id: string, by: string, now: number, until: number): Promise<boolean>;
  /** The VM is destroyed, or nobody was ever let in: the project is free at once. */
  close(lease: Pick<Lease, 'id' | 'project'>): Promise<void>;
}

/** What `--leases` says: nothing, or `dynamodb:TABLE`. @throws MintError `usage` */
export function tableName(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const [, name] = /^dynamodb:([a-zA-Z0-9_.-]{3,255})$/.exec(text) ?? [];
  if (name !== undefined) return name;
  throw new MintError('usage', `"${printable(text.slice(0, 60))}" is no place for leases`, {
    hint: '--leases dynamodb:TABLE; without it, leases are files below the configuration directory',
  });
}

export function openLeases(paths: Paths, table: LeaseTable | undefined): LeaseStore {
  return table === undefined ? new FileLeases(paths) : new DynamoLeases(table);
}
