/**
 * The marks of batches in doubt. Their signals count nowhere until a replay reads the outcome from the ledger
 * and counts them.
 *
 * A mark lives in the cache of one Cloudflare location, as long as an Idempotency-Key. A replay that reaches
 * another location, or comes after the cache dropped the mark, counts nothing: the metrics then lack a batch,
 * and never count one twice.
 */

const LIFETIME_SECONDS = 7 * 24 * 60 * 60

/** The name of a mark within the cache. The cache needs a URL; its host does not exist. */
const markOf = (transactionId: string) => `https://in-doubt.signal-ingest.invalid/${transactionId}`

/** Marks a batch in doubt. Never throws. */
export async function markInDoubt(transactionId: string): Promise<void> {
  const mark = new Response("", { headers: { "Cache-Control": `max-age=${LIFETIME_SECONDS}` } })
  await caches.default.put(markOf(transactionId), mark).catch(() => {})
}

/**
 * Removes the mark of a batch. True for one caller only, which then counts the batch's signals. Never throws.
 */
export const settleDoubt = (transactionId: string): Promise<boolean> =>
  caches.default.delete(markOf(transactionId)).catch(() => false)
