/**
 * One record of a source: a signal as a batch holds it, or the reason why there is none. `place` names the
 * record in messages: file and line, or channel and ts.
 */
export type SourceRecord =
  | { place: string; signal: Record<string, unknown> }
  | { place: string; skipped: string }
  | {
      place: string
      error: string
      /** The original record, under the names of the failures file; see `readFailure`. */
      kept?: Record<string, unknown>
    }

/**
 * The place where reading continues after a stop. Only its source understands it; the state file holds it.
 */
export type Position = string

export interface Source {
  /** @param from the position of the last record that was read before */
  records(from?: Position): AsyncGenerator<SourceRecord & { position: Position }>
  /**
   * Returns the part of the source before a position, from 0 to 1. Undefined where the source does not know
   * its size.
   */
  share?: ((position: Position) => number) | undefined
}

/** The source cannot be read to its end: a damaged file, a lost connection. The message says what to do. */
export class SourceError extends Error {}
