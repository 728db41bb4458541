import type { NewSignal } from "../types.ts"

/** A batch that an earlier run may have sent under a key. */
export interface SpooledBatch {
  key: string
  signals: NewSignal[]
  /** A signal of the batch is lost. The service refuses the others under the key if it has stored all of them. */
  isDamaged: boolean
}

/** Keeps the signals that a `BatchProcessor` has accepted until the service has them. `openSpool` of `signal-ingest/client/spool` keeps them on disk. */
export interface Spool {
  /** Returns what an earlier run left: batches to send again under their keys, and signals in no batch. Called once, before the other methods. */
  recover(): Promise<{ batches: SpooledBatch[]; loose: NewSignal[] }>
  /**
   * Keeps a signal: it is durable when the promise resolves.
   *
   * @throws {Error} the signal is not kept
   */
  append(signal: NewSignal): Promise<void>
  /** Makes the oldest `count` signals that are in no batch a batch under `key`. Durable when the promise resolves. */
  cut(key: string, count: number): Promise<void>
  /** Forgets a batch: the service has it, or refused each of its signals that it does not have. */
  done(key: string): Promise<void>
  close(): Promise<void>
}
