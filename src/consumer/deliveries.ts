import type { Bindings } from "../bindings.ts"
import { readSettings } from "../config.ts"
import { RUN, runDeliveries } from "../deliver/run.ts"
import { errorForLog } from "../errors.ts"

/** The cron trigger of the deliveries in wrangler.toml. Any other is the hourly sweep. */
export const EVERY_MINUTE = "* * * * *"

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
    await runDeliveries({ database, retention, subscriptions, deliveries }, bounds)
  } catch (error) {
    console.log(JSON.stringify({ event: "delivered", error: errorForLog(error) }))
  }
}
