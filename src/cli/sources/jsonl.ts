import { isFields } from "../../signals/json.ts"
import { UsageError } from "../terminal/errors.ts"
import { openBytes, shareOfBytes } from "./reading/bytes.ts"
import { isTooDeep, readJsonLine, TOO_DEEP } from "./reading/json.ts"
import { linesOf } from "./reading/lines.ts"
import { keptBytes, keptLine, type Source, type SourceRecord } from "./reading/source.ts"
import { convert, FIELDS_OF, type Imported } from "./rows/convert.ts"
import { isExport, readExported } from "./rows/exported.ts"
import { isFailure, readFailure } from "./slack/failures.ts"

/**
 * Reads signals, one on each line, or the failures file of an import. A position is the byte after a line.
 */
export function openJsonl(path: string, imported: Imported = "signals"): Source {
  const share = shareOfBytes(path)
  return {
    share: share && ((position) => share(Number(position))),
    async *records() {
      for await (const { number, text, bytes, end } of linesOf(openBytes(path), { name: path })) {
        if (text?.trim() === "") continue
        if (number === 1 && text !== undefined) refuseDocument(text, path)
        const place = `${path}:${number}`
        const position = String(end)
        if (text === undefined)
          yield { place, error: "The line is not UTF-8", kept: keptBytes(bytes), position }
        else yield { ...readSignal(text, place, imported), position }
      }
    },
  }
}

function readSignal(text: string, place: string, imported: Imported): SourceRecord {
  const value = readJsonLine(text)
  if (value === undefined) return { place, error: "The line is not JSON", kept: keptLine(text) }
  if (isTooDeep(value.json)) return { place, error: TOO_DEEP, kept: keptLine(text) }
  if (isFailure(value.json))
    return converted(
      readFailure(value.json, place, {
        team: undefined,
        readLine: (line, at) => readSignal(line, at, imported),
      }),
      imported,
    )
  if (!isFields(value.json)) return { place, error: "The line is not a JSON object", kept: keptLine(text) }
  if (imported === "scores") return readScore(value.json, place, text)
  const names = Object.keys(value.json)
  if (isExport(names)) return readExported(value.json, place)
  if (names.includes("time") && !names.includes("timestamp"))
    return {
      place,
      error:
        'The line has "time" and no "timestamp". Rename it, or the signal would get the time of the import',
      kept: keptLine(text),
    }
  return converted({ place, signal: value.json }, imported)
}

function readScore(score: Record<string, unknown>, place: string, text: string): SourceRecord {
  if (score.scored_at !== undefined && score.scored_at !== null)
    return converted({ place, signal: score }, "scores")
  const error = 'The line has no "scored_at". Add it, or the score would get the time of the import'
  return { place, error, kept: keptLine(text) }
}

/** Converts the values of a line as those of a table. An unknown name stays: the service names it. */
function converted(record: SourceRecord, imported: Imported): SourceRecord {
  if (!("signal" in record)) return record
  const { signal } = record
  let changed: Record<string, unknown> | undefined
  for (const name of FIELDS_OF[imported]) {
    const value = signal[name]
    // Most values have the type of their field. A time may be a number or a text.
    if (value === undefined || value === null || typeof value === (TYPES[name] ?? "string")) continue
    const other = convert(name, value, imported)
    if (other === value) continue
    changed ??= { ...signal }
    changed[name] = other
  }
  return changed ? { place: record.place, signal: changed } : record
}

const TYPES: Record<string, string> = {
  timestamp: "number",
  signal_score: "number",
  emotional_tone: "number",
  escalate_flag: "number",
  payload: "object",
  signal_id: "number",
  scored_at: "number",
}

/** Throws `UsageError` for a file that is one JSON document, since each of its lines would fail. */
function refuseDocument(firstLine: string, path: string): void {
  const jq = /^\s*\[/.test(firstLine)
    ? ".[]"
    : /^\s*\{\s*("signals"\s*:\s*\[.*)?$/.test(firstLine)
      ? // A body of the API, or one signal.
        ".signals[]? // ."
      : undefined
  if (jq !== undefined)
    throw new UsageError(
      `${path} is one JSON document, not one signal on each line. Convert it: jq -c '${jq}' ${path} > signals.jsonl`,
    )
}
