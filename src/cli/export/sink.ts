import { print } from "../terminal/output.ts"

/** The progress of an export, as of the last block that was written. */
export interface Progress {
  /** Where to read on; null at the beginning. */
  cursor: string | null
  /** Every signal has been written. */
  finished: boolean
  /** Bytes of the blocks. */
  bytes: number
  signals: number
  /** Signals whose payload the service left out. */
  omitted: number
  /** What the encoder needs to continue; null before the first block. */
  encoder: string | null
  /** The batch of the first signal. The service's ledger shows by it whether its database is the same. */
  transaction: string | null
}

export const NOTHING: Progress = {
  cursor: null,
  finished: false,
  bytes: 0,
  signals: 0,
  omitted: 0,
  encoder: null,
  transaction: null,
}

/** Where an export goes. */
export interface Sink {
  /** For messages. */
  readonly name: string
  /** How far an earlier run came. */
  readonly begun: Progress
  /** Appends a block, and notes the progress behind it. */
  append(block: Uint8Array, progress: Progress): Promise<void>
  /** Appends the end of the file, and gives the file its name. */
  complete(end: Uint8Array): Promise<void>
  close(): Promise<void>
}

/**
 * Standard output keeps no progress. When its reader has left, the process ends before (see
 * `runCommandLine`).
 */
export const openStandardOutput = (): Sink => ({
  name: "standard output",
  begun: NOTHING,
  append: print,
  complete: print,
  close: async () => {},
})
