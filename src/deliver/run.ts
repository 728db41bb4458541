import type { Settings } from "../config.ts"
import { errorForLog } from "../errors.ts"
import { connect, type Database } from "../store/database/connection.ts"
import { FeedPositionUnknown } from "../store/database/errors.ts"
import { type FeedPage, type FeedPosition, readFeed } from "../store/signals/feed.ts"
import {
  type ClaimedSubscription,
  claimSubscription,
  failSubscription,
  filterCondition,
  type Lane,
  passSubscription,
  releaseSubscription,
  savePending,
} from "../store/subscriptions/work.ts"
import { addressError } from "../subscriptions/address.ts"
import { type Call, callOf, headersOf } from "../subscriptions/call.ts"
import { type Answer, afterFailure, attemptOf } from "../subscriptions/plan.ts"
import type { Format } from "../subscriptions/schema.ts"
import { Unsealable, unseal } from "../subscriptions/secrets.ts"
import { CALL_MS, send } from "./send.ts"
import { wakeLater } from "./wake.ts"

/** What a run works with. */
export interface RunContext {
  database: Settings["database"]
  retention: Settings["retention"]
  subscriptions: Settings["subscriptions"]
  /** The queue of wake messages; undefined when none is bound, and only the cron starts runs. */
  deliveries: Queue | undefined
}

/** The bounds of a run. Cloudflare ends a consumer after 15 minutes. */
export const RUN = {
  /** After this time no further part of the feed is read. */
  totalMs: 25_000,
  /** Parts of the feed: each needs up to 5 subrequests, of which older plans allow 1,000. */
  parts: 150,
  /** Parts of one subscription before the next one has its turn. */
  turn: 10,
  /** How long a receiver has for its answer. */
  callMs: CALL_MS,
  /** Who works at once. Receivers that do not answer at once have workers of their own. */
  lanes: ["quick", "quick", "quick", "slow", "slow"] as readonly Lane[],
}

/** One call has at most so many signals, and ends after so many bytes of them. */
const CALL = { signals: 100, bytes: 1024 * 1024 }

/** The pause after a call. Slack takes one message a second of an incoming webhook. */
const PAUSE_MS: Record<Format, number> = { signals: 0, slack: 1000 }

/** The signals of the feed that one statement tests against a filter. */
const TESTED = 5000

/** A receiver that needs longer has to wait with the slow ones. */
const QUICK_MS = 2000

/** A call must begin so soon after its range was saved: well before its lease ends. */
const LATEST_START_MS = 20_000

/** A later attempt than this one is left to the cron, which runs every minute. */
const CRON_MS = 60_000

/** What a run did. */
export interface RunResult {
  calls: number
  signals: number
  failed: number
  /** Whether it ended before everything was done. */
  isCut: boolean
  error: unknown
}

/**
 * Delivers what is due, and never throws. Any number of runs can work at once, and each can end at any
 * moment: a subscription is served by one at a time, and everything that matters is in its row.
 */
export async function runDeliveries(context: RunContext, bounds = RUN): Promise<RunResult> {
  const result: RunResult = { calls: 0, signals: 0, failed: 0, isCut: false, error: undefined }
  const startedAt = Date.now()
  const run: Run = { context, result, endsAt: startedAt + bounds.totalMs, partsLeft: bounds.parts, bounds }
  await Promise.all(bounds.lanes.map((lane) => work(run, lane)))
  const { calls, signals, failed, isCut } = result
  const error = result.error === undefined ? undefined : errorForLog(result.error)
  if (calls > 0 || error !== undefined)
    log({ event: "delivered", calls, signals, failed, cut: isCut, ms: Date.now() - startedAt, error })
  if (isCut) await wakeLater(context.deliveries, 0)
  return result
}

interface Run {
  context: RunContext
  bounds: typeof RUN
  result: RunResult
  /** In milliseconds since the epoch. */
  endsAt: number
  partsLeft: number
}

const log = (line: object) => console.log(JSON.stringify(line))

const database = ({ context }: Run): Database => connect(context.database, { traffic: "consumer" })

const isOver = (run: Run): boolean => Date.now() >= run.endsAt || run.partsLeft <= 0

/** Serves one subscription after the other, until none is due. */
async function work(run: Run, lane: Lane): Promise<void> {
  try {
    while (!isOver(run)) {
      const claimed = await claimSubscription(database(run), lane)
      if (!claimed) return
      await serve(run, claimed).catch(async (error: unknown) => {
        // Where this fails too, the lease ends by itself.
        await releaseSubscription(database(run), claimed).catch(() => {})
        throw error
      })
    }
    run.result.isCut = true
  } catch (error) {
    run.result.error ??= error
  }
}

/** Gives a subscription its turn: a number of calls, or parts of the feed without one. */
async function serve(run: Run, claimed: ClaimedSubscription): Promise<void> {
  let { position, pending } = claimed
  for (let part = 0; part < run.bounds.turn && !isOver(run); part++) {
    run.partsLeft--
    const current = { ...claimed, position, pending }
    const page = await nextPage(run, current)
    if (!page) return
    const isDone = page.signals.length === 0 && !page.more && isSame(page.next, position) && !pending
    if (isDone) break
    const isServed =
      page.signals.length === 0
        ? await passSubscription(database(run), current, { to: page.next, accepted: undefined })
        : await deliver(run, current, page)
    if (!isServed) return
    const wasPending = pending !== null
    position = page.next
    pending = null
    if (!page.more && !wasPending) break
  }
  await releaseSubscription(database(run), claimed)
}

const isSame = (a: FeedPosition, b: FeedPosition): boolean =>
  a.xid === b.xid && a.transactionId === b.transactionId && a.id === b.id

/** The next part of the feed; undefined when the subscription cannot go on. */
async function nextPage(run: Run, claimed: ClaimedSubscription): Promise<FeedPage | undefined> {
  try {
    return await readFeed(database(run), {
      after: claimed.position,
      until: claimed.pending ?? undefined,
      limit: TESTED,
      ledgerDays: run.context.retention.ledgerDays,
      match: { where: filterCondition(claimed.filter), limit: CALL.signals, maxBytes: CALL.bytes },
    })
  } catch (error) {
    if (!(error instanceof FeedPositionUnknown)) throw error
    const why = `${error.message}: the database was restored to an earlier time. Resend from a time`
    await fail(run, claimed, { id: "", signals: 0 }, { ...NO_ANSWER, error: why, isFinal: true })
    return undefined
  }
}

const NO_ANSWER = { status: null, retryAfterMs: undefined, ms: 0 }

/**
 * Sends the call of a page, and saves the answer.
 *
 * @returns whether the subscription can go on
 */
async function deliver(run: Run, claimed: ClaimedSubscription, page: FeedPage): Promise<boolean> {
  const startedAt = Date.now()
  const range = {
    subscriptionId: claimed.id,
    format: claimed.format,
    first: positionText(claimed.position),
    last: positionText(page.next),
  }
  const call = await callOf(range, page.signals)
  if (!(await savePending(database(run), claimed, page.next))) return false
  // A process that was stopped for a while must not call beside its successor.
  if (Date.now() - startedAt > LATEST_START_MS) return false
  const answer = await answerTo(run, claimed, call)
  if (answer.error !== undefined) {
    await fail(run, claimed, call, answer)
    return false
  }
  run.result.calls++
  run.result.signals += call.signals
  const attempt = attemptOf(call, answer, now())
  const pauseMs = PAUSE_MS[claimed.format]
  const accepted = { attempt, isQuick: answer.ms <= QUICK_MS, pauseMs }
  const isPassed = await passSubscription(database(run), claimed, { to: page.next, accepted })
  if (!isPassed || pauseMs === 0) return isPassed
  await releaseSubscription(database(run), claimed)
  if (page.more) await wakeLater(run.context.deliveries, pauseMs)
  return false
}

const positionText = ({ xid, transactionId, id }: FeedPosition): string =>
  `${xid}/${transactionId}/${id ?? ""}`

const now = (): string => new Date().toISOString().replace("Z", "000Z")

/** Opens address and secrets, and calls. */
async function answerTo(
  run: Run,
  { id, sealedUrl, sealedSecrets }: ClaimedSubscription,
  call: Call,
): Promise<Answer> {
  try {
    const { context, bounds } = run
    return await callReceiver(
      context.subscriptions,
      { id, sealedUrl, sealedSecrets },
      { ...call, callMs: bounds.callMs },
    )
  } catch (error) {
    if (!(error instanceof Unsealable)) throw error
    return { ...NO_ANSWER, error: error.message }
  }
}

/**
 * Calls a receiver. Its address is tested again, since a setting may have changed.
 *
 * @throws {Unsealable}
 */
export async function callReceiver(
  { secrets: keys, allowLocal }: Settings["subscriptions"],
  { id, sealedUrl, sealedSecrets }: { id: string; sealedUrl: string; sealedSecrets: readonly string[] },
  call: Call & { callMs?: number },
): Promise<Answer> {
  const url = await unseal(keys, placeOf(id, "url"), sealedUrl)
  const secrets = await Promise.all(sealedSecrets.map((one) => unseal(keys, placeOf(id, "secret"), one)))
  const refused = addressError(url, { local: allowLocal })
  if (refused) return { ...NO_ANSWER, error: `the address ${refused}` }
  const headers = await headersOf(call, secrets, Math.floor(Date.now() / 1000))
  return send(url, { headers, body: call.body }, call.callMs)
}

/** What binds a sealed text to its field of its subscription. */
export const placeOf = (id: string, field: "url" | "secret"): string => `${id}:${field}`

async function fail(
  run: Run,
  claimed: ClaimedSubscription,
  call: Pick<Call, "id" | "signals">,
  answer: Answer,
): Promise<void> {
  run.result.calls++
  run.result.failed++
  const after = afterFailure(claimed, answer, { nowMs: Date.now(), random: Math.random() })
  const waitMs = after.state === "active" ? after.waitMs : null
  await failSubscription(database(run), claimed, { attempt: attemptOf(call, answer, now()), waitMs })
  const { id: subscription, name, failedAttempts } = claimed
  const { status, error, ms } = answer
  const counts = { failed_attempts: failedAttempts + 1, wait_ms: waitMs, state: after.state }
  log({ event: "call_failed", subscription, name, webhook_id: call.id, status, error, ms, ...counts })
  if (waitMs !== null && waitMs < CRON_MS) await wakeLater(run.context.deliveries, waitMs)
}
