import type { NewSignal } from "../api/types.ts"

/** A batch that an earlier run may have sent under a key. */
export interface SpooledBatch {
  key: string
  signals: NewSignal[]
  /**
   * A signal of the batch is lost. The service refuses the others under the key if it has stored all of them.
   */
  isDamaged: boolean
}

/**
 * Keeps the signals that a `BatchProcessor` has accepted until the service has them. `openSpool` of
 * `signal-ingest/client/spool` keeps them on disk.
 */
export interface Spool {
  /**
   * Returns the signals of an earlier run: batches to send again under their keys, and signals without a
   * batch. Called once, before the other methods.
   */
  recover(): Promise<{ batches: SpooledBatch[]; loose: NewSignal[] }>
  /**
   * Keeps a signal: it is durable when the promise resolves.
   *
   * @throws {Error} the signal is not kept
   */
  append(signal: NewSignal): Promise<void>
  /**
   * Makes a batch under `key` of the oldest `count` signals without a batch. It is durable when the promise
   * resolves.
   */
  cut(key: string, count: number): Promise<void>
  /** Forgets a batch: the service has stored or refused each of its signals. */
  done(key: string): Promise<void>
  close(): Promise<void>
}
