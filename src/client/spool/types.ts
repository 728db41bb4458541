/** A batch that an earlier run may have sent under a key. Its signals stay on disk until `read`. */
export interface SpooledBatch {
  key: string
  /** How many signals the spool still has of it. */
  count: number
  /** Bytes of their JSON. */
  bytes: number
  /** The caller under which it was sent, see `SignalClient.callerId`. */
  caller: string
}

/**
 * Keeps the signals that a `BatchProcessor` has accepted until the service has them. `openSpool` of
 * `signal-ingest/client/spool` keeps them on disk. A signal is the JSON text that is sent.
 */
export interface Spool {
  /**
   * Returns what an earlier run left: batches to send again under their keys, and the signals that are in no
   * batch. Called once, before the other methods.
   */
  recover(): Promise<{ batches: SpooledBatch[]; loose: string[] }>
  /**
   * Keeps a signal: it is durable when the promise resolves.
   *
   * @throws {Error} the signal is not kept
   */
  append(signal: string): Promise<void>
  /**
   * Makes a batch under `key` of the oldest `count` signals without a batch. It is durable when the promise
   * resolves.
   *
   * @throws {Error} there is no such batch; its signals are still without one, in their order
   */
  cut(key: string, count: number, caller: string): Promise<void>
  /**
   * Reads the signals of a batch, in their order.
   *
   * @returns `isDamaged` when a signal is lost; the service refuses the others under the key if it has stored
   *   all of them
   */
  read(key: string): Promise<{ signals: string[]; isDamaged: boolean }>
  /** Forgets a batch: the service has stored or refused each of its signals. */
  done(key: string): Promise<void>
  close(): Promise<void>
}
