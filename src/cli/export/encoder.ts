import type { ExportedRow } from "../../signals/lines.ts"

/**
 * Turns signals into the bytes of a file, block by block. A file may end, and be continued, behind every
 * block.
 */
export interface Encoder {
  add(row: ExportedRow): void
  /** Enough signals for a block have been added. */
  readonly isFull: boolean
  /** Returns the bytes of the signals that were added since the last block; none for none. */
  takeBlock(): Promise<Uint8Array>
  /** Returns the bytes behind the last block. */
  finish(): Promise<Uint8Array>
  /** Returns what another encoder needs to continue behind the last block. */
  save(): string
}
