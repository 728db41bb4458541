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
}

export const NOTHING: Progress = {
  cursor: null,
  finished: false,
  bytes: 0,
  signals: 0,
  omitted: 0,
  encoder: null,
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
export function openStandardOutput(): Sink {
  const print = (bytes: Uint8Array) =>
    new Promise<void>((resolve) => {
      process.stdout.write(bytes, (error) => {
        if (!error) resolve()
      })
    })
  return { name: "standard output", begun: NOTHING, append: print, complete: print, close: async () => {} }
}
