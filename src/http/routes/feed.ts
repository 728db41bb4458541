import { waitUntil } from "cloudflare:workers"
import { zValidator } from "@hono/zod-validator"
import { type Context, Hono } from "hono"
import { type ReaderSlot, ReaderSlots } from "../../isolate/reader-slots.ts"
import type { FeedAnswer } from "../../signals/responses.ts"
import { connect } from "../../store/database/connection.ts"
import {
  type FeedPage,
  type FeedPosition,
  newestPosition,
  OLDEST,
  readFeed,
} from "../../store/signals/feed.ts"
import { requireScope } from "../request/auth.ts"
import { MAX_WAITING_READERS } from "../request/bounds.ts"
import { type App, ownerOf } from "../request/context.ts"
import { encodeFeedCursor, FeedQuery, refuseShape } from "../request/params.ts"
import { tooManyWaiting } from "../request/problems.ts"

/**
 * GET /api/signals/feed: the signals after a cursor, in commit order. It waits for the next one if `wait`
 * says so.
 */
export const feed = new Hono<App>().get(
  "/",
  requireScope("read"),
  zValidator("query", FeedQuery, refuseShape),
  async (c) => {
    const { after = OLDEST, limit, wait } = c.req.valid("query")
    const endsAt = Date.now() + wait * 1000
    const begin = after === "now" ? await newestPosition(c.get("db")) : after
    const first = await readFeed(c.get("db"), { after: begin, limit, ledgerDays: ledgerDaysOf(c) })
    const page =
      first.signals.length > 0 || wait === 0 ? first : await waitForSignals(c, first, { limit, endsAt })
    return c.json(answerOf(page))
  },
)

const answerOf = ({ signals, next, more, lagSeconds }: FeedPage): FeedAnswer => ({
  signals,
  next_cursor: encodeFeedCursor(next),
  more,
  lag_seconds: lagSeconds,
})

/**
 * Reads until there is a signal or the time is over. When the caller disconnects, the runtime ends the
 * request.
 */
async function waitForSignals(
  c: Context<App>,
  first: FeedPage,
  query: { limit: number; endsAt: number },
): Promise<FeedPage> {
  const slot = takeWaitingSlot(ownerOf(c))
  if (!slot) throw tooManyWaiting()
  try {
    let page = first
    while (page.signals.length === 0 && Date.now() < query.endsAt) {
      if (!page.more)
        await new Promise((resolve) =>
          setTimeout(resolve, Math.min(LOOK_EVERY_MS, query.endsAt - Date.now())),
        )
      slot.renew()
      page = await readOn(c, page.next, query.limit)
    }
    return page
  } finally {
    slot.release()
  }
}

const ledgerDaysOf = (c: Context<App>) => c.get("settings").retention.ledgerDays

/** Each read has its own deadline. */
async function readOn(c: Context<App>, after: FeedPosition, limit: number): Promise<FeedPage> {
  const db = connect(c.get("settings").database, {
    traffic: "reads",
    keepAlive: waitUntil,
    owner: () => ownerOf(c),
  })
  try {
    return await readFeed(db, { after, limit, ledgerDays: ledgerDaysOf(c) })
  } finally {
    const { usage } = c.get("db")
    usage.attempts += db.usage.attempts
    usage.ms += db.usage.ms
  }
}

/** The pause between reads of a waiting reader. A read costs the database about ten buffers. */
const LOOK_EVERY_MS = 1000

/** Longer than the longest read: a reader renews its slot between two reads. */
const GONE_AFTER_MS = 11_000

const slots = new ReaderSlots({ most: MAX_WAITING_READERS, goneAfterMs: GONE_AFTER_MS })

/** Takes one of the slots for waiting readers; undefined when all are taken. */
export const takeWaitingSlot = (owner?: string, now?: number): ReaderSlot | undefined =>
  slots.take(owner, now)
