/** One thing of a source: a signal as it would stand in a batch, or why it is none. `place` names it for people: file and line, or channel and ts. */
export type SourceRecord =
  | { place: string; signal: Record<string, unknown> }
  | { place: string; skipped: string }
  | { place: string; fault: string }

/** Where reading may go on after a stop: opaque to all but its reader; written into the checkpoint file. */
export type Position = string

export interface Source {
  /** @param from the position that came with the last record that is not wanted again */
  records(from?: Position): AsyncGenerator<SourceRecord & { position: Position }>
  /** How much of it lies before a position, from 0 to 1, where that can be told. */
  share?: ((position: Position) => number) | undefined
}
