import { waitUntil } from "cloudflare:workers"
import { MetricsUnavailable } from "./analytics.ts"

/**
 * An answer or an error that all readers of this isolate share until `expiresAt` (milliseconds since the
 * epoch).
 */
interface SharedAnswer {
  text: Promise<string>
  expiresAt: number
}

/** One entry for each name. There are few: one for each window. */
const answers = new Map<string, SharedAnswer>()

/**
 * Longer than the deadline of a query, so it ends a wait only when the request that sent the queries was
 * lost.
 */
const PATIENCE_MS = 15_000

const EXPIRES_AT = "Signal-Ingest-Expires-At"

/**
 * Returns one answer to all readers: readers in this isolate share it in memory, readers in this Cloudflare
 * location in the cache. Cloudflare's API blocks a token for every use after 1,200 calls in 5 minutes.
 *
 * The cache does not know the caller: check the scope first, and put nothing secret into `name`.
 *
 * @param name the path of a URL, equal for equal answers
 * @param seconds the age limit of an answer; an error is shared for the same time
 * @throws {MetricsUnavailable} also when another reader's request failed, or was lost
 */
export async function sharedAnswer(
  name: string,
  seconds: number,
  make: () => Promise<string>,
): Promise<string> {
  const known = answers.get(name)
  if (known && Date.now() < known.expiresAt) return await inTime(known.text)
  const shared: SharedAnswer = { expiresAt: Date.now() + seconds * 1000, text: Promise.resolve("") }
  shared.text = cachedOrMade(name, seconds, shared, make)
  answers.set(name, shared)
  // Other readers wait for it, so it must finish even when its first reader leaves.
  waitUntil(shared.text.catch(() => {}))
  return await shared.text
}

async function cachedOrMade(
  name: string,
  seconds: number,
  shared: SharedAnswer,
  make: () => Promise<string>,
): Promise<string> {
  // The host does not exist, so no request from outside reaches the entry.
  const key = `https://metrics.signal-ingest.invalid/${name}`
  const cached = await caches.default.match(key).catch(() => undefined)
  if (cached) {
    shared.expiresAt = Number(cached.headers.get(EXPIRES_AT))
    return await cached.text()
  }
  const text = await make()
  const headers = { "Cache-Control": `max-age=${seconds}`, [EXPIRES_AT]: String(shared.expiresAt) }
  await caches.default.put(key, new Response(text, { headers })).catch(() => {})
  return text
}

async function inTime(text: Promise<string>): Promise<string> {
  const { promise, reject } = Promise.withResolvers<never>()
  const lost = new MetricsUnavailable(
    "Metrics can't be read right now: the request that asked Analytics Engine was lost.",
  )
  const timer = setTimeout(() => reject(lost), PATIENCE_MS)
  return await Promise.race([text, promise]).finally(() => clearTimeout(timer))
}
