import { SCORE_FIELDS } from "../../../scores/score.ts"
import { isFields } from "../../../signals/json.ts"
import { FREE_TEXTS, SIGNAL_FIELDS } from "../../../signals/schema.ts"
import { UsageError } from "../../terminal/errors.ts"
import { unlessTooDeep } from "../reading/json.ts"
import type { SourceRecord } from "../reading/source.ts"
import { type Cell, convert, FIELDS_OF, type Imported, keptRow, RowError } from "./convert.ts"
import { isExport, readExportedRow } from "./exported.ts"

/** The fields in which an empty text is a value. */
const MAY_BE_EMPTY = new Set<string>([...FREE_TEXTS, "payload"])

/** Returns the first name in `map` that is not a field of what is imported. */
export const unknownField = (map: Record<string, string> = {}, imported: Imported): string | undefined =>
  Object.values(map).find((field) => !FIELDS_OF[imported].has(field))

export interface RowOptions {
  /**
   * The field of each column. A column that is not here goes into the field of its own name, or into the
   * payload.
   */
  map: Record<string, string>
  /** Whether the source distinguishes an empty text from no value. CSV does not. */
  hasNulls: boolean
  /** Default: signals. A column that is no field of a score is left out. */
  imported?: Imported | undefined
}

/** Reads the rows of one table, whatever its source is. */
export interface RowReader {
  /** The table is an export of this service. */
  isExported: boolean
  /** The columns that are stored in the payload. */
  payloadColumns: readonly string[]
  /**
   * Turns a row into a record. A row with a bad cell becomes an error.
   *
   * @param kept what the failures file keeps of the row; without it, its cells
   */
  read(row: Record<string, Cell>, place: string, kept?: Record<string, unknown>): SourceRecord
}

/**
 * @param name of the table, for messages
 * @throws {UsageError} a mistake that every row would have, see `checkColumns`
 */
export function openRows(name: string, columns: readonly string[], options: RowOptions): RowReader {
  const isScores = options.imported === "scores"
  const isExported = !isScores && Object.keys(options.map).length === 0 && isExport(columns)
  if (isScores) checkScoreColumns(name, columns, options.map)
  else checkColumns(name, columns, options.map, isExported)
  const toRecord = isExported
    ? (row: Record<string, Cell>, place: string) =>
        readExportedRow(row, place, (cells) => signalOfRow(cells, { map: {}, hasNulls: true }))
    : (row: Record<string, Cell>, place: string) => ({ place, signal: signalOfRow(row, options) })
  return {
    isExported,
    payloadColumns:
      isExported || isScores
        ? []
        : columns.filter((column) => !SIGNAL_FIELDS.has(options.map[column] ?? column)),
    read(row, place, kept) {
      try {
        return unlessTooDeep(toRecord(row, place), kept)
      } catch (error) {
        if (!(error instanceof RowError)) throw error
        return { place, error: error.message, kept: kept ?? keptRow(row) }
      }
    },
  }
}

/**
 * Turns a row into a signal. A cell without a value adds no field.
 *
 * @throws {RowError} a cell has no value for its field
 */
function signalOfRow(
  row: Record<string, Cell>,
  { map, hasNulls, imported = "signals" }: RowOptions,
): Record<string, unknown> {
  const signal: Record<string, unknown> = {}
  const rest: Record<string, unknown> = {}
  for (const [column, cell] of Object.entries(row)) {
    const field = map[column] ?? column
    const isField = FIELDS_OF[imported].has(field)
    if (!isField && imported === "scores") continue
    if (cell === null || cell === undefined) continue
    if (cell === "" && !(hasNulls && MAY_BE_EMPTY.has(isField ? field : "payload"))) continue
    const value = convert(field, cell, imported)
    // The text "null" of a payload.
    if (value === null) continue
    if (isField) signal[field] = value
    else rest[column] = value
  }
  if (Object.keys(rest).length === 0) return signal
  const { payload } = signal
  const own = isFields(payload) ? payload : payload === undefined ? {} : { payload }
  const twice = Object.keys(own).find((name) => Object.hasOwn(rest, name))
  if (twice !== undefined) throw new RowError(`payload has a value "${twice}", and so has a column`)
  return { ...signal, payload: { ...rest, ...own } }
}

/**
 * Finds the mistakes that every row would have.
 *
 * @throws {UsageError} two columns have one name or one field, one is named `__proto__`, `--map` names a
 *   column that does not exist, none is the context_window_id, or one is named `time` and none has the time
 */
function checkColumns(
  source: string,
  columns: readonly string[],
  map: Record<string, string>,
  isExported: boolean,
): void {
  checkNames(source, columns)
  if (isExported) return
  const list = `Its columns are: ${columns.join(", ")}.`
  const missing = Object.keys(map).find((column) => !columns.includes(column))
  if (missing !== undefined) throw new UsageError(`--map: ${source} has no column "${missing}". ${list}`)
  const fields = new Map<string, string>()
  for (const column of columns) {
    const field = map[column] ?? column
    const other = fields.get(field)
    if (other !== undefined && SIGNAL_FIELDS.has(field))
      throw new UsageError(
        `${source} has two columns for ${field}: "${other}" and "${column}". Rename one, or map it elsewhere.`,
      )
    fields.set(field, column)
  }
  if (!fields.has("context_window_id")) {
    const hint = columns.length === 1 ? " Or choose another --delimiter." : ""
    throw new UsageError(
      `${source} has no column for context_window_id. ${list} Name one with --map COLUMN=context_window_id.${hint}`,
    )
  }
  if (fields.has("time") && !fields.has("timestamp"))
    throw new UsageError(
      `${source} has a column "time" and none for timestamp, so that each signal would get the time of the import. Add --map time=timestamp, or rename the column.`,
    )
}

/** @throws {UsageError} two columns have one name, or one is named `__proto__` */
function checkNames(source: string, columns: readonly string[]): void {
  const twice = columns.find((column, at) => columns.indexOf(column) !== at)
  if (twice !== undefined)
    throw new UsageError(`${source} has two columns named "${twice}". Rename one of them.`)
  // The libraries that read tables set it on an object, where it is no column but the object's prototype.
  if (columns.includes("__proto__"))
    throw new UsageError(`${source} has a column named "__proto__", which cannot be read. Rename it.`)
}

/**
 * As `checkColumns`, for scores.
 *
 * @throws {UsageError} as `checkColumns`; none names the signal, or none has the time of the score
 */
function checkScoreColumns(source: string, columns: readonly string[], map: Record<string, string>): void {
  checkNames(source, columns)
  const list = `Its columns are: ${columns.join(", ")}.`
  const missing = Object.keys(map).find((column) => !columns.includes(column))
  if (missing !== undefined) throw new UsageError(`--map: ${source} has no column "${missing}". ${list}`)
  const fields = columns.map((column) => map[column] ?? column)
  const twice = fields.find((field, at) => SCORE_FIELDS.has(field) && fields.indexOf(field) !== at)
  if (twice !== undefined)
    throw new UsageError(`${source} has two columns for ${twice}. Rename one, or map it elsewhere.`)
  if (!fields.includes("signal_id") && !fields.includes("dedupe_key"))
    throw new UsageError(
      `${source} has no column for the signal. ${list} Name one with --map COLUMN=signal_id or --map COLUMN=dedupe_key.`,
    )
  if (!fields.includes("scored_at"))
    throw new UsageError(
      `${source} has no column for scored_at, so that each score would get the time of the import. Name one with --map COLUMN=scored_at.`,
    )
}
