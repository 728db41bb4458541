import { Readable } from "node:stream"
import { parse } from "csv-parse"
import { signalOfRow } from "./columns.ts"
import { readJsonLine } from "./jsonl.ts"
import { openBytes, shareOfBytes } from "./lines.ts"
import type { Source } from "./source.ts"

/** Rows of a table with a header (RFC 4180). A position is the number of rows before, and of bytes. */
export function openCsv(path: string, options: { map: Record<string, string>; delimiter: string }): Source {
  const share = shareOfBytes(path)
  const readPayload = (cell: unknown) => readJsonLine(String(cell))?.json ?? cell
  const rowOptions = { map: options.map, readPayload, hasNulls: false }
  return {
    share: share && ((position) => share(Number(position.split(":")[1]))),
    async *records(from) {
      const rowsBefore = Number((from ?? "0").split(":")[0])
      const rows = Readable.from(openBytes(path)).pipe(
        parse({
          columns: true,
          bom: true,
          delimiter: options.delimiter,
          skip_empty_lines: true,
          info: true,
          relax_column_count: true,
          skip_records_with_error: false,
        }),
      )
      let number = 0
      for await (const { record, info } of rows as AsyncIterable<{
        record: Record<string, string>
        info: { lines: number; bytes: number; error?: { message: string } }
      }>) {
        number++
        if (number <= rowsBefore) continue
        const place = `${path}:${info.lines}`
        const position = `${number}:${info.bytes}`
        if (info.error) yield { place, fault: info.error.message, position }
        else yield { place, signal: signalOfRow(record, rowOptions), position }
      }
    },
  }
}
