import { KEY_LIFETIME_MS } from "../idempotency.ts"

/** A place in the feed: a batch, and how much of it was read. */
export interface FeedPosition {
  /** The transaction that wrote the batch's ledger row: 64 bits, as digits. */
  xid: string
  transactionId: string
  /** The last id that was read of the batch; null when all of it was. */
  id: number | null
}

/** Before every batch. */
export const OLDEST: FeedPosition = { xid: "0", transactionId: "00000000-0000-0000-0000-000000000000", id: null }

/** The database has no such place: it was restored to an earlier time, or the position is another database's. */
export class FeedPositionUnknown extends Error {
  constructor() {
    super("the database has no such place in its feed")
  }
}

/**
 * Whether the ledger must have the batch of a position. A position is always that of a ledger row, and retention keeps rows for at least
 * as long as an idempotency key lives. The time in a UUIDv7 is not after the row's.
 */
export const mustBeInLedger = ({ transactionId }: FeedPosition, now = Date.now()): boolean =>
  transactionId !== OLDEST.transactionId && timeOfUuid(transactionId) > now - KEY_LIFETIME_MS

/** The time in a UUIDv7, in milliseconds since the epoch. */
const timeOfUuid = (uuid: string) => Number.parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16)
