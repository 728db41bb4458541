import { openSource, type SourceRequest } from "../../../../../src/cli/sources/open.ts"

/** Every record as JSON, in which each number keeps its digits. */
export async function recordsOf(request: SourceRequest): Promise<string[]> {
  const { source } = await openSource(request)
  const records: string[] = []
  for await (const record of source.records())
    records.push("signal" in record ? JSON.stringify(record.signal) : `${JSON.stringify(record)}`)
  return records
}

/** The values of the payload of a row, as JSON. */
export function payloadOf(record: string | undefined): Record<string, string> {
  const names: Record<string, string> = {}
  const { payload } = JSON.parse(record ?? "{}", (_, value, context?: { source?: string }) => {
    if (typeof value === "number") return JSON.rawJSON(context?.source ?? String(value))
    return value
  }) as { payload: object }
  for (const [name, value] of Object.entries(payload)) names[name] = JSON.stringify(value)
  return names
}

/** A time with a zone as every source gives it, and one without. */
export const INSTANT = '"2026-01-02T03:04:05.678901Z"'
export const LOCAL = '"2026-01-02T03:04:05.678901"'
/** A signal as every source gives it, of columns of other types than the fields. */
export const FIELDS = {
  context_window_id: "12345678901234567890123",
  user_id: "76561198000000001",
  agent_id: "2.30",
  signal_score: 1,
  emotional_tone: 1,
  escalate_flag: 1,
  timestamp: 1736935200,
  raw_content: "x",
}
