/**
 * One record of a source: a signal as it stands in a batch, or the reason why there is none. `place` names it for people: file and
 * line, or channel and ts.
 */
export type SourceRecord =
  | { place: string; signal: Record<string, unknown> }
  | { place: string; skipped: string }
  | {
      place: string
      fault: string
      /** The record as it was read, under names for the failures file: see `readFailure`. */
      kept?: Record<string, unknown>
    }

/** Where reading continues after a stop: opaque to all but its reader, and part of the state file. */
export type Position = string

export interface Source {
  /** @param from the position that came with the last record that is not wanted again */
  records(from?: Position): AsyncGenerator<SourceRecord & { position: Position }>
  /** The part of the source before a position, from 0 to 1, where the source knows it. */
  share?: ((position: Position) => number) | undefined
}

/** The source cannot be read to its end: a damaged file, a lost connection. The message says what to do. */
export class SourceError extends Error {}
