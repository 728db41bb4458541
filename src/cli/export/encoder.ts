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

export const FORMATS = ["ndjson", "csv", "parquet"] as const
export type FormatName = (typeof FORMATS)[number]

/** @param saved what `save` of the encoder returned when the export was stopped */
export async function openEncoder(
  format: FormatName,
  options: { gzip: boolean; saved?: string | undefined },
): Promise<Encoder> {
  if (format === "parquet") {
    const { ParquetEncoder } = await import("./parquet.ts")
    return new ParquetEncoder(options.saved)
  }
  const { LineEncoder } = await import("./line-encoder.ts")
  return new LineEncoder({ format, gzip: options.gzip, begun: options.saved !== undefined })
}
