import type { NewSignal } from "../types.ts"

/** A batch that was cut, and may have been sent, under a key before a stop. */
export interface SpooledBatch {
  key: string
  signals: NewSignal[]
}

/** Keeps what a `BatchProcessor` has accepted until the service has it. `openSpool` of `signal-ingest/client/spool` keeps it on disk. */
export interface Spool {
  /** What an earlier run left: batches to be sent again under their keys, and signals that were in none. To be called once, before the rest. */
  recover(): Promise<{ batches: SpooledBatch[]; loose: NewSignal[] }>
  /** Durable when it resolves. */
  append(signal: NewSignal): Promise<void>
  /** The oldest `count` signals that are in no batch are one now, under `key`. Durable when it resolves. */
  cut(key: string, count: number): Promise<void>
  /** The service has this batch, or refused it for good. */
  done(key: string): Promise<void>
  close(): Promise<void>
}
