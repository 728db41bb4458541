import { parseJson } from "../../../signals/json.ts"
import { isDeeperThan } from "../../../signals/payload.ts"
import { Unreadable } from "../../../signals/shape-errors.ts"
import type { SourceRecord } from "./source.ts"

/**
 * How deep a value may nest: it is written as JSON again, which overflows the stack at a few thousand levels.
 */
const MAX_DEPTH = 1000

export const isTooDeep = (value: unknown) => isDeeperThan(value, MAX_DEPTH)
export const TOO_DEEP = `The value nests deeper than ${MAX_DEPTH} levels`

/**
 * The record, or an error when its signal nests too deeply.
 * @param kept what the failures file keeps of it
 */
export const unlessTooDeep = (record: SourceRecord, kept?: Record<string, unknown>): SourceRecord =>
  "signal" in record && isTooDeep(record.signal)
    ? { place: record.place, error: TOO_DEEP, ...(kept && { kept }) }
    : record

/** Reads JSON without losing a digit; undefined when the text is not JSON. */
export function readJsonLine(text: string): { json: unknown } | undefined {
  try {
    return { json: parseJson(text) }
  } catch (error) {
    if (error instanceof Unreadable) return undefined
    throw error
  }
}
