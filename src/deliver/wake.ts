import { errorForLog, platformErrorForLog } from "../errors.ts"
import { connect, type DatabaseSettings } from "../store/database/connection.ts"
import { hasActive } from "../store/subscriptions/records.ts"

/** An isolate sends at most one wake message in this time. */
const PAUSE_MS = 1000

/** How long an isolate trusts what it knows of the subscriptions. */
const KNOWN_MS = 60_000

/** The request that had to send a message may have been ended: another one may take over. */
const OVERDUE_MS = 5000

/**
 * What this isolate knows and has planned. A wake message says only that there is something new, so that one
 * does for any number of writes; a lost one costs a minute, until the cron.
 */
const isolate = { active: false, knownUntil: 0, sentAt: 0, plannedAt: 0 }

/** What a wake needs. */
export interface WakeContext {
  database: DatabaseSettings
  /** Whether the deployment can have subscriptions at all. */
  isConfigured: boolean
  deliveries: Queue | undefined
}

/**
 * Tells the consumer of the deliveries that there are new signals, after the answer. A write does nothing for
 * it but look at the clock: at most once a second it sends a message, and at most once a minute it asks the
 * database whether there are subscriptions. Never throws.
 */
export function wake(context: WakeContext, keepAlive: (work: Promise<unknown>) => void): void {
  const { isConfigured, deliveries } = context
  if (!isConfigured || !deliveries) return
  const now = Date.now()
  const isKnown = now < isolate.knownUntil
  if (isKnown && !isolate.active) return
  if (now < isolate.plannedAt + OVERDUE_MS) return
  // The next message is sent after a pause, so that it also stands for the last write of a burst.
  isolate.plannedAt = Math.max(now, isolate.sentAt + PAUSE_MS)
  keepAlive(wakeAt(context, isolate.plannedAt, isKnown))
}

async function wakeAt({ database, deliveries }: WakeContext, at: number, isKnown: boolean): Promise<void> {
  try {
    if (!isKnown) {
      isolate.active = await hasActive(connect(database, { traffic: "reads" }))
      isolate.knownUntil = Date.now() + KNOWN_MS
    }
    const waitMs = at - Date.now()
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs))
  } catch (error) {
    console.log(JSON.stringify({ event: "wake", error: errorForLog(error) }))
    isolate.active = false
    isolate.knownUntil = Date.now() + KNOWN_MS
  }
  isolate.plannedAt = 0
  if (!isolate.active) return
  isolate.sentAt = Date.now()
  await wakeLater(deliveries, 0)
}

/** An isolate that has just created a subscription knows it. */
export function knowActive(): void {
  isolate.active = true
  isolate.knownUntil = Date.now() + KNOWN_MS
}

/** Starts a run after a time, where a queue is bound. Never throws: the cron is never far. */
export async function wakeLater(deliveries: Queue | undefined, waitMs: number): Promise<void> {
  try {
    const delaySeconds = Math.ceil(waitMs / 1000)
    await deliveries?.send("wake", { contentType: "text", ...(delaySeconds > 0 && { delaySeconds }) })
  } catch (error) {
    console.log(JSON.stringify({ event: "wake", error: platformErrorForLog(error) }))
  }
}
