import { app } from "./app.ts"
import { type Bindings, readSettings } from "./config.ts"
import { consume } from "./consumer/consume.ts"
import { sweepBucket } from "./consumer/sweep.ts"
import { connect } from "./store/connection.ts"
import { releaseExpiredKeys } from "./store/expired-keys.ts"

/** Cloudflare gives a cron trigger 15 minutes. */
const SCHEDULED_DEADLINE_MS = 5 * 60_000

export default {
  fetch: app.fetch,
  async scheduled(_event, bindings) {
    const { QUEUE: queue, BUCKET: bucket } = bindings
    if (queue && bucket) await sweepBucket(queue, bucket, Date.now())
    await releaseExpiredKeys(connect({ ...readSettings(bindings).database, deadlineMs: SCHEDULED_DEADLINE_MS }))
  },
  queue: consume,
} satisfies ExportedHandler<Bindings>
