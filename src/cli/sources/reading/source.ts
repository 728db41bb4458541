import { GaveUpError } from "../../terminal/errors.ts"

type Fields = Record<string, unknown>

/**
 * One record of a source: a signal as a batch holds it, or the reason why there is none. `place` names the
 * record in messages: file and line, or channel and ts.
 */
export type SourceRecord =
  | { place: string; signal: Fields }
  | { place: string; skipped: string }
  | {
      place: string
      error: string
      /** The original record, in one of the forms below. */
      kept?: Fields
    }

// The forms in which a failures file keeps a record that did not become a signal, under names that no signal
// has. `readFailure` reads them again.
export const keptLine = (text: string): Fields => ({ _line: text })
export const keptBytes = (bytes: Uint8Array): Fields => ({ _base64: Buffer.from(bytes).toString("base64") })
export const keptMessage = (message: Fields): Fields => ({ _message: message })

/** The position behind a record. Only its source understands it. */
type Position = string

export interface Source {
  /** Reads every record, from the first one. The same source gives the same records each time. */
  records(): AsyncGenerator<SourceRecord & { position: Position }>
  /**
   * Returns the part of the source before a position, from 0 to 1. Undefined where the source does not know
   * its size.
   */
  share?: ((position: Position) => number) | undefined
  /** Every signal has a dedupe_key, so that sending the source again stores nothing twice. */
  namesItsSignals?: boolean
  /** The columns that are stored in the payload; known when the first record has been read. */
  payloadColumns?: (() => readonly string[]) | undefined
}

/** The source cannot be read to its end: a damaged file, a lost connection. The message says what to do. */
export class SourceError extends GaveUpError {}
