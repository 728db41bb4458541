import { isFields, parseJson } from "../../signals/json.ts"
import { isDeeperThan } from "../../signals/payload.ts"
import { Unreadable } from "../../signals/shape-errors.ts"
import { UsageError } from "../usage.ts"
import { openBytes, shareOfBytes } from "./bytes.ts"
import { isExport, readExported } from "./exported.ts"
import { isFailure, readFailure } from "./failure.ts"
import { keptBytes, keptLine } from "./kept.ts"
import { linesOf } from "./lines.ts"
import type { Source, SourceRecord } from "./source.ts"

/**
 * Reads signals, one on each line, or the failures file of an import. A position is the byte after a line.
 */
export function openJsonl(path: string): Source {
  const share = shareOfBytes(path)
  return {
    share: share && ((position) => share(Number(position))),
    async *records(from) {
      for await (const { number, text, bytes, end } of linesOf(openBytes(path), {
        name: path,
        from: Number(from ?? 0),
      })) {
        if (text?.trim() === "") continue
        if (number === 1 && text !== undefined) refuseDocument(text, path)
        const place = `${path}:${number}`
        const position = String(end)
        if (text === undefined)
          yield { place, error: "The line is not UTF-8", kept: keptBytes(bytes), position }
        else yield { ...readSignal(text, place), position }
      }
    },
  }
}

function readSignal(text: string, place: string): SourceRecord {
  const value = readJsonLine(text)
  if (value === undefined) return { place, error: "The line is not JSON", kept: keptLine(text) }
  if (isTooDeep(value.json)) return { place, error: TOO_DEEP, kept: keptLine(text) }
  if (isFailure(value.json)) return readFailure(value.json, place, { team: undefined, readLine: readSignal })
  if (!isFields(value.json)) return { place, error: "The line is not a JSON object", kept: keptLine(text) }
  return isExport(Object.keys(value.json)) ? readExported(value.json, place) : { place, signal: value.json }
}

/** Throws `UsageError` for a file that is one JSON document, since each of its lines would fail. */
function refuseDocument(firstLine: string, path: string): void {
  const jq = /^\s*\[/.test(firstLine)
    ? ".[]"
    : /^\s*\{\s*("signals"\s*:\s*\[.*)?$/.test(firstLine)
      ? ".signals[]"
      : undefined
  if (jq !== undefined)
    throw new UsageError(
      `${path} is one JSON document, not one signal on each line. Convert it: jq -c '${jq}' ${path} > signals.jsonl`,
    )
}

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
