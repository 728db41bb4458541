import { KEY_LIFETIME_MS } from "../idempotency.ts"

/** A position in the feed: a batch, and the part of it that was read. */
export interface FeedPosition {
  /** The transaction that wrote the batch's ledger row: 64 bits, as digits. */
  xid: string
  transactionId: string
  /** The last id of the batch that was read; null when the whole batch was read. */
  id: number | null
}

/** Before every batch. */
export const OLDEST: FeedPosition = {
  xid: "0",
  transactionId: "00000000-0000-0000-0000-000000000000",
  id: null,
}

/**
 * The database does not have this position: it was restored to an earlier time, or the position is another
 * database's.
 */
export class FeedPositionUnknown extends Error {
  constructor() {
    super("the database has no such place in its feed")
  }
}

/**
 * Whether the ledger must have the batch of a position. A position always belongs to a ledger row, and
 * retention keeps rows at least as long as an idempotency key. The time in a UUIDv7 is not after the row's
 * time.
 */
export const mustBeInLedger = ({ transactionId }: FeedPosition, now = Date.now()): boolean =>
  transactionId !== OLDEST.transactionId && timeOfUuid(transactionId) > now - KEY_LIFETIME_MS

/** The time in a UUIDv7, in milliseconds since the epoch. */
const timeOfUuid = (uuid: string) => Number.parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16)
