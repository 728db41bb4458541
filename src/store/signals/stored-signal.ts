import { parseJson } from "../../signals/json.ts"
import type { StoredSignal } from "../../signals/responses.ts"
import type { SignalRow } from "../../signals/schema.ts"
import { SIGNAL_COLUMNS } from "../../signals/schema.ts"

/** A row of `SELECTED_SIGNAL`. */
export type SelectedRow = Omit<StoredSignal, "id" | "payload" | "payload_omitted"> & {
  id: string
  payload: string | null
  payload_omitted: boolean
}

export const readSignal = ({ payload_omitted, ...row }: SelectedRow): StoredSignal => ({
  ...row,
  id: Number(row.id),
  payload: row.payload === null ? null : parseJson(row.payload),
  ...(payload_omitted && { payload_omitted }),
})

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
