import { DeadlineError } from "./api/errors.ts"
import type { FeedPage } from "./api/types.ts"
import { checkRange, MAX_TIMER_MS } from "./base/guards.ts"
import { backoffMs, type CallOptions, wait as pause } from "./http/request.ts"

export interface FeedOptions extends CallOptions {
  /**
   * `next_cursor` of the last page that was handled; `now` begins after the newest signal. Default: the
   * oldest signal.
   */
  after?: string | undefined
  /** Signals of a page, 1 to 1,000. Default: 1,000. */
  limit?: number | undefined
  /** Seconds that a request waits for the next signal, 1 to 30. Default: 20. */
  wait?: number | undefined
  /** False ends the feed after the newest signal, and after an error. Default: true. */
  follow?: boolean | undefined
}

const FIRST_PAUSE_MS = 500

/** See `SignalClient.feed`. */
export async function* followFeed(
  read: (query: Record<string, string | number | undefined>, call: CallOptions) => Promise<unknown>,
  { after, limit = 1000, wait = 20, follow = true, ...call }: FeedOptions & { deadlineMs: number },
): AsyncGenerator<FeedPage, void, undefined> {
  const waitSeconds = follow ? checkRange("wait", wait, 1, 30) : 0
  const deadlineMs = Math.min(MAX_TIMER_MS, call.deadlineMs + waitSeconds * 1000)
  const { signal } = call
  let cursor = after
  for (let errors = 0; !signal?.aborted; ) {
    try {
      const page = (await read(
        { after: cursor, limit, wait: waitSeconds },
        { ...call, deadlineMs },
      )) as FeedPage
      errors = 0
      const isNew = page.signals.length > 0 || page.next_cursor !== cursor
      cursor = page.next_cursor
      if (isNew) yield page
      if (!follow && !page.more) return
    } catch (error) {
      if (signal?.aborted) return
      if (!follow || !(error instanceof DeadlineError)) throw error
      await pause(backoffMs(++errors, 0, { firstMs: FIRST_PAUSE_MS }), signal).catch(() => {})
    }
  }
}
