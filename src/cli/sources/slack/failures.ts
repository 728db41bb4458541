import { isFields } from "../../../signals/json.ts"
import type { SourceRecord } from "../reading/source.ts"
import { mapSlackMessage, type SlackSourceOptions } from "./messages.ts"

type Fields = Record<string, unknown>

/** Whether a value is a line of a failures file. */
export const isFailure = (value: unknown): value is Fields =>
  isFields(value) && typeof value._error === "string"

/**
 * Reads a line of a failures file as the original record, so that a corrected record is imported and an
 * unchanged one fails again. Names that begin with `_` are notes, not fields of the signal.
 *
 * @param readLine reads a line that the file holds as text
 */
export function readFailure(
  failure: Fields,
  place: string,
  { readLine, ...options }: SlackSourceOptions & { readLine: (text: string, place: string) => SourceRecord },
): SourceRecord {
  const signal = Object.fromEntries(Object.entries(failure).filter(([name]) => !name.startsWith("_")))
  if (Object.keys(signal).length > 0) return { place, signal }
  if (isFields(failure._message)) return mapSlackMessage(failure._message, place, options)
  if (typeof failure._line === "string") return readLine(failure._line, place)
  return {
    place,
    error: String(failure._error),
    // The reason and the place are written anew.
    kept: Object.fromEntries(
      Object.entries(failure).filter(([name]) => name === "_base64" || name === "_row"),
    ),
  }
}
