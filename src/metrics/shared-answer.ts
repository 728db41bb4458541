import { waitUntil } from "cloudflare:workers"
import { MetricsUnavailable } from "./analytics.ts"

/** An answer that all readers of this isolate share, its failure included, until `expiresAt` (milliseconds since the epoch). */
interface SharedAnswer {
  text: Promise<string>
  expiresAt: number
}

/** One entry for each name: a handful, since windows are few and a deployment has one account. */
const answers = new Map<string, SharedAnswer>()

/** Longer than any query takes: it ends a wait only when the request that sent the queries was lost. */
const PATIENCE_MS = 15_000

const EXPIRES_AT = "Signal-Ingest-Expires-At"

/**
 * One answer for all readers: those of this isolate share it in memory, those of this Cloudflare location in the cache. Cloudflare's
 * API blocks an account's token after 1,200 calls in 5 minutes, for every use of it.
 *
 * The cache does not know the caller: check the scope first, and put nothing secret into `name`.
 *
 * @param name the same for equal answers, as a path of a URL
 * @param seconds how old an answer may become; a failure is shared as long
 * @throws {MetricsUnavailable} also when another reader's request failed, or was lost
 */
export async function sharedAnswer(name: string, seconds: number, make: () => Promise<string>): Promise<string> {
  const known = answers.get(name)
  if (known && Date.now() < known.expiresAt) return await inTime(known.text)
  const shared: SharedAnswer = { expiresAt: Date.now() + seconds * 1000, text: Promise.resolve("") }
  shared.text = cachedOrMade(name, seconds, shared, make)
  answers.set(name, shared)
  // Readers wait for it, so it outlives a reader who leaves.
  waitUntil(shared.text.catch(() => {}))
  return await shared.text
}

async function cachedOrMade(name: string, seconds: number, shared: SharedAnswer, make: () => Promise<string>): Promise<string> {
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
  const lost = new MetricsUnavailable("Metrics can't be read right now: the request that asked Analytics Engine was lost.")
  const timer = setTimeout(() => reject(lost), PATIENCE_MS)
  return await Promise.race([text, promise]).finally(() => clearTimeout(timer))
}
