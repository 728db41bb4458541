import type { Bindings } from "../bindings.ts"
import { readSettings, type Settings } from "../config.ts"
import { RUN, runDeliveries } from "../deliver/run.ts"
import { errorForLog } from "../errors.ts"
import { connect } from "../store/database/connection.ts"
import { storeArrivedScores } from "../store/scores/waiting.ts"

/** The cron trigger of the deliveries in wrangler.toml. Any other is the hourly sweep. */
export const EVERY_MINUTE = "* * * * *"

/** The deadline of the scores that waited. The hourly sweep does the rest. */
const ARRIVED_MS = 10_000

/** Whether messages come from the queue of wake messages; see wrangler.toml. */
export const isDeliveries = ({ queue }: Pick<MessageBatch, "queue">): boolean => queue.endsWith("-deliveries")

/**
 * Delivers what is due. All the messages say the same, so one run does for them; a run that fails is not
 * repeated, since the cron starts the next one. Never throws.
 */
export async function consumeWakes(batch: MessageBatch<unknown>, bindings: Bindings): Promise<void> {
  await runEveryMinute(bindings)
  batch.ackAll()
}

/** Delivers what is due. Asks the database nothing where no subscription is possible. Never throws. */
export async function runEveryMinute(bindings: Bindings, bounds = RUN): Promise<void> {
  try {
    const { database, retention, subscriptions } = readSettings(bindings)
    if (subscriptions.secrets.length === 0) return
    const { DELIVERIES: deliveries } = bindings
    await storeArrived(database)
    await runDeliveries({ database, retention, subscriptions, deliveries }, bounds)
  } catch (error) {
    console.log(JSON.stringify({ event: "delivered", error: errorForLog(error) }))
  }
}

/** Stores the scores whose signals came after them: a change in the feed. Never throws. */
async function storeArrived(database: Settings["database"]): Promise<void> {
  const db = connect({ ...database, deadlineMs: ARRIVED_MS }, { traffic: "consumer" })
  const log = (outcome: object) => console.log(JSON.stringify({ event: "arrived_scores_stored", ...outcome }))
  await storeArrivedScores(db).then(
    (count) => count > 0 && log({ count }),
    (error) => log({ error: errorForLog(error) }),
  )
}
