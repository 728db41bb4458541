import { decodeRuns } from "../statement/signal-ids.ts"
import type { FeedPosition } from "./position.ts"

/** The ids of a batch's signals in its ledger row. */
export interface FeedBatch {
  xid: string
  transaction_id: string
  /**
   * Null in rows of versions that did not keep ids. Such ids are between the first and the last, among ids of
   * other batches.
   */
  signal_ids: string | null
  first_signal_id: string | null
  last_signal_id: string | null
}

/** The signals to read, in feed order, and the position after them. */
export interface FeedIds {
  ids: number[]
  /** The batch of each id. */
  batches: FeedBatch[]
  next: FeedPosition
  /** Whether the last batch has more ids. */
  cut: boolean
}

/**
 * Returns the next ids after a position, at most `limit`. Some may have no signal: duplicates, erased and
 * expired signals.
 *
 * @param after the position; in the first batch, the ids up to it are left out
 */
export function nextIds(after: FeedPosition, rows: readonly FeedBatch[], limit: number): FeedIds {
  const found: FeedIds = { ids: [], batches: [], next: after, cut: false }
  for (const row of rows) {
    const isCurrent = row.xid === after.xid && row.transaction_id === after.transactionId
    const position = { xid: row.xid, transactionId: row.transaction_id }
    const behind = isCurrent ? (after.id ?? Number.POSITIVE_INFINITY) : 0
    for (const { first, last } of rangesOf(row)) {
      const from = Math.max(first, behind + 1)
      const room = limit - found.ids.length
      for (let id = from; id <= Math.min(last, from + room - 1); id++) {
        found.ids.push(id)
        found.batches.push(row)
      }
      if (last >= from + room) return { ...found, next: { ...position, id: from + room - 1 }, cut: true }
    }
    found.next = { ...position, id: null }
  }
  return found
}

/** Ranges of ids in ascending order, which is batch order. */
function rangesOf(row: FeedBatch): { first: number; last: number }[] {
  const runs = row.signal_ids === null ? null : decodeRuns(row.signal_ids)
  // Earlier versions continued a run across a duplicate.
  if (runs?.every(({ first }) => first > 0))
    return runs.map(({ first, size }) => ({ first, last: first + size - 1 }))
  if (row.first_signal_id === null || row.last_signal_id === null) return []
  return [{ first: Number(row.first_signal_id), last: Number(row.last_signal_id) }]
}
