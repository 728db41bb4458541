import type { SourceRecord } from "../reading/source.ts"

type Fields = Record<string, unknown>

/** Fields that the service gives to a signal, and gives anew when it is imported. */
const GIVEN = ["id", "received_at", "edited_at", "transaction_id"]

/** The fields that only a stored signal has, and each has. */
const ALWAYS = ["time", "received_at", "transaction_id"]

/**
 * Whether these are the names of an exported signal, in any order and also without some of its fields: other
 * programs leave out what is null.
 */
export const isExport = (names: readonly string[]): boolean =>
  !names.includes("timestamp") && ALWAYS.every((name) => names.includes(name))

/** Returns an exported signal as a batch takes it. */
export function readExported(exported: Fields, place: string): SourceRecord {
  return readExportedRow(exported, place, (fields) => fields)
}

/** @param toSignal converts the fields, or the cells of a row */
export function readExportedRow(
  { time, payload_omitted, ...fields }: Fields,
  place: string,
  toSignal: (fields: Fields) => Fields,
): SourceRecord {
  if (payload_omitted && payload_omitted !== "false")
    return {
      place,
      error: `The payload was too large for the export. GET /api/signals/${fields.id} of the service that it comes from may return it`,
    }
  for (const name of GIVEN) delete fields[name]
  return { place, signal: toSignal({ ...fields, timestamp: time }) }
}
