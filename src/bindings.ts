import type { SettingTexts } from "./config.ts"
import type { Dataset } from "./metrics/points.ts"

/**
 * What Cloudflare hands to the Worker: the settings, and the bindings of `wrangler.toml`. Apart from
 * `config.ts`, since `npm start` reads that file too, where the types of Cloudflare's runtime are unknown.
 */
export interface Bindings extends SettingTexts {
  METRICS?: Dataset
  /** Counts by caller. */
  RATE_LIMITER?: RateLimit
  /** Counts by address, before authentication. */
  ADDRESS_RATE_LIMITER?: RateLimit
  /** The queue of webhook events and asynchronous batches. Without it they are stored at once. */
  QUEUE?: Queue
  /** Wakes the deliveries of subscriptions. Without it only the cron does. */
  DELIVERIES?: Queue
  /** The bucket of claim checks: content that is too large for a message of the queue. */
  BUCKET?: R2Bucket
}
