import type { Encoder } from "./encoder.ts"

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
