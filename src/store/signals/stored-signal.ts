import { parseJson } from "../../signals/json.ts"
import type { StoredSignal } from "../../signals/responses.ts"
import type { SignalRow } from "../../signals/schema.ts"
import { instantText } from "../../signals/timestamp.ts"
import { SIGNAL_COLUMNS } from "./columns.ts"

/** A row of `SELECTED_SIGNAL`. */
export type SelectedRow = Omit<StoredSignal, "id" | "received_at" | "payload" | "payload_omitted"> & {
  id: string
  received_at: string | null
  payload: string | null
  payload_omitted: boolean
}

/**
 * A row of an earlier version has no time of arrival. Its transaction id has the time at which the batch was
 * accepted.
 */
export const receivedAt = ({
  received_at,
  transaction_id,
}: Pick<SelectedRow, "received_at" | "transaction_id">): string =>
  received_at ?? instantOfUuid(transaction_id)

export const readSignal = ({ payload_omitted, ...row }: SelectedRow): StoredSignal => ({
  ...row,
  id: Number(row.id),
  received_at: receivedAt(row),
  payload: row.payload === null ? null : parseJson(row.payload),
  ...(payload_omitted && { payload_omitted }),
})

/** The time in a UUIDv7 as UTC text, to the millisecond. */
const instantOfUuid = (uuid: string) =>
  instantText(new Date(Number.parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16)))

/** The stored signal of a row, without a read of the database. */
export function storedSignal(
  row: SignalRow,
  id: number,
  { transactionId, receivedAt }: { transactionId: string; receivedAt: string },
): StoredSignal {
  const fields = SIGNAL_COLUMNS.map(({ field, column, type }) => {
    if (type !== "jsonb") return [column, row[field]]
    return [column, row[field] === "" ? null : parseJson(row[field])]
  })
  return {
    id,
    time: row.time,
    received_at: receivedAt,
    edited_at: row.change?.kind === "edited" ? row.change.at : null,
    transaction_id: transactionId,
    ...Object.fromEntries(fields),
  }
}
