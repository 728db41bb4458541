import { deserialize, serialize } from "node:v8"
import { ByteWriter, type ColumnSource, ParquetWriter, type SchemaElement } from "hyparquet-writer"
import { EXPORT_COLUMNS, type ExportedRow } from "../../signals/lines.ts"
import type { Encoder } from "./encoder.ts"

/** A block is a row group, which readers hold as a whole. */
const GROUP_ROWS = 50_000
const GROUP_CHARACTERS = 32 * 1024 * 1024

type Column = Pick<SchemaElement, "type" | "converted_type" | "logical_type" | "repetition_type"> & {
  convert?: (cell: string | number) => unknown
}

const INSTANT: Column = {
  type: "INT64",
  converted_type: "TIMESTAMP_MICROS",
  logical_type: { type: "TIMESTAMP", isAdjustedToUTC: true, unit: "MICROS" },
  convert: (cell) => microsecondsOf(String(cell)),
}
const TEXT: Column = { type: "BYTE_ARRAY", converted_type: "UTF8", logical_type: { type: "STRING" } }

/**
 * The payload is text, and not Parquet's JSON, since readers of that round numbers. Every field that is not
 * here is a text.
 */
const COLUMNS: Partial<Record<keyof ExportedRow, Column>> = {
  id: { type: "INT64", convert: BigInt },
  time: INSTANT,
  received_at: INSTANT,
  edited_at: INSTANT,
  signal_score: { type: "DOUBLE" },
  emotional_tone: { type: "DOUBLE" },
  escalate_flag: { type: "INT32" },
  payload_omitted: { type: "BOOLEAN" },
}

const NEVER_NULL: ReadonlySet<keyof ExportedRow> = new Set([
  "id",
  "time",
  "received_at",
  "transaction_id",
  "context_window_id",
  "signal_source",
  "signal_score",
  "escalate_flag",
])

const SCHEMA: SchemaElement[] = [
  { name: "signals", num_children: EXPORT_COLUMNS.length },
  ...EXPORT_COLUMNS.map((name) => {
    const { convert: _, ...column } = COLUMNS[name] ?? TEXT
    return {
      name,
      ...column,
      repetition_type: NEVER_NULL.has(name) ? ("REQUIRED" as const) : ("OPTIONAL" as const),
    }
  }),
]

/** What the end of the file says of the row groups before it. */
interface Written {
  offset: number
  rows: bigint
  groups: ParquetWriter["row_groups"]
}

/** Parquet, compressed with Snappy. */
export class ParquetEncoder implements Encoder {
  readonly #bytes = new ByteWriter()
  readonly #parquet = new ParquetWriter({ writer: this.#bytes, schema: SCHEMA, createdBy: "signal-ingest" })
  #rows: ExportedRow[] = []
  #characters = 0

  /** @param saved what `save` returned behind the last row group of the file */
  constructor(saved: string | undefined) {
    if (saved === undefined) return
    const { offset, rows, groups } = deserialize(Buffer.from(saved, "base64")) as Written
    this.#bytes.index = 0
    this.#bytes.offset = offset
    this.#parquet.num_rows = rows
    this.#parquet.row_groups = groups
  }

  add(row: ExportedRow): void {
    this.#rows.push(row)
    for (const cell of Object.values(row)) if (typeof cell === "string") this.#characters += cell.length
  }

  get isFull(): boolean {
    return this.#rows.length >= GROUP_ROWS || this.#characters >= GROUP_CHARACTERS
  }

  async takeBlock(): Promise<Uint8Array> {
    const rows = this.#rows
    this.#rows = []
    this.#characters = 0
    if (rows.length > 0)
      await this.#parquet.write({
        columnData: EXPORT_COLUMNS.map((name) => columnOf(name, rows)),
        rowGroupSize: rows.length,
      })
    this.#parquet.pendingIndexes = []
    return this.#takeBytes()
  }

  async finish(): Promise<Uint8Array> {
    await this.#parquet.finish()
    return this.#takeBytes()
  }

  save(): string {
    const written: Written = {
      offset: this.#bytes.offset,
      rows: this.#parquet.num_rows,
      groups: this.#parquet.row_groups,
    }
    return serialize(written).toString("base64")
  }

  #takeBytes(): Uint8Array {
    const bytes = this.#bytes.getBytes().slice()
    this.#bytes.index = 0
    return bytes
  }
}

function columnOf(name: keyof ExportedRow, rows: readonly ExportedRow[]): ColumnSource {
  const { convert } = COLUMNS[name] ?? TEXT
  const data = rows.map((row) => {
    const cell = row[name]
    if (cell === null || cell === undefined) return undefined
    return convert && typeof cell !== "boolean" ? convert(cell) : cell
  })
  return { name, data, offsetIndex: false } as ColumnSource
}

/** @param time UTC with microseconds, as every answer has it */
function microsecondsOf(time: string): bigint {
  const [seconds = "", fraction = ""] = time.replace("Z", "").split(".")
  return BigInt(Date.parse(`${seconds}Z`)) * 1000n + BigInt(fraction.padEnd(6, "0"))
}
