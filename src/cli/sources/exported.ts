import { EXPORT_COLUMNS } from "../../signals/lines.ts"
import { type RowOptions, signalOfRow } from "./columns.ts"
import type { SourceRecord } from "./source.ts"

type Fields = Record<string, unknown>

/** Fields that the service gives to a signal, and gives anew when it is imported. */
const GIVEN = ["id", "received_at", "edited_at", "transaction_id"]

/** Whether these are the names of an exported signal; all of them but `payload_omitted`, which few have. */
export const isExport = (names: readonly string[]): boolean =>
  !names.includes("timestamp") &&
  EXPORT_COLUMNS.every((name) => name === "payload_omitted" || names.includes(name))

/** Returns an exported signal as a batch takes it. */
export function readExported({ time, payload_omitted, ...fields }: Fields, place: string): SourceRecord {
  if (payload_omitted)
    return {
      place,
      error: `The payload was too large for the export. GET /api/signals/${fields.id} of the service that it comes from may return it`,
    }
  for (const name of GIVEN) delete fields[name]
  return { place, signal: { ...fields, timestamp: time } }
}

/** The same of a row, whose cells are text. */
export function readExportedRow(row: Fields, place: string, options: Omit<RowOptions, "map">): SourceRecord {
  const { time, payload_omitted, id, ...rest } = row
  for (const name of GIVEN) delete rest[name]
  if (payload_omitted) return readExported({ payload_omitted, id }, place)
  return { place, signal: signalOfRow({ ...rest, timestamp: time }, { ...options, map: {} }) }
}
