import { parseJson } from "../../signals/json.ts"
import { Unreadable } from "../../signals/shape-errors.ts"
import { linesOf, shareOfBytes } from "./lines.ts"
import type { Source, SourceRecord } from "./source.ts"

/** Signals, one a line. A position is the byte after a line. */
export function openJsonl(path: string): Source {
  const share = shareOfBytes(path)
  return {
    share: share && ((position) => share(Number(position))),
    async *records(from) {
      for await (const { number, text, end } of linesOf(path, Number(from ?? 0))) {
        if (text.trim() === "") continue
        yield { ...readSignal(text, `${path}:${number}`), position: String(end) }
      }
    },
  }
}

function readSignal(text: string, place: string): SourceRecord {
  const value = readJsonLine(text)
  if (value === undefined) return { place, fault: "not JSON" }
  if (typeof value.json !== "object" || value.json === null || Array.isArray(value.json))
    return { place, fault: "not a JSON object" }
  return { place, signal: value.json as Record<string, unknown> }
}

/** Every digit of a number is kept. */
export function readJsonLine(text: string): { json: unknown } | undefined {
  try {
    return { json: parseJson(text.replace(/^\uFEFF/, "")) }
  } catch (error) {
    if (error instanceof Unreadable) return undefined
    throw error
  }
}
