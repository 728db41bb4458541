import { setTimeout as sleep } from "node:timers/promises"
import { expect } from "vitest"
import { waitFor } from "../../setup/hooks/wait-for.ts"

/** A batch that was answered with 200. */
interface SentBatch {
  key: string
  transactionId: string
  size: number
}

/** A sender and a reader of one service, as every version of 1.0 serves them. */
export type Caller = ReturnType<typeof callerOf>

/** How often a batch that gets 503 is sent again under its key. */
const ATTEMPTS = 50

export function callerOf(address: string) {
  const sent: SentBatch[] = []

  const ask = async (path: string, method = "GET", body?: unknown, headers: Record<string, string> = {}) => {
    const response = await fetch(`${address}${path}`, {
      method,
      headers: { "Content-Type": "application/json", ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, body: text === "" ? {} : JSON.parse(text), text }
  }

  const ok = async (...request: Parameters<typeof ask>) => {
    const answer = await ask(...request)
    expect([200, 201, 202], `${request[0]} ${answer.text}`).toContain(answer.status)
    return answer.body
  }

  /** Sends a batch until it is stored, as every sender does. @returns its transaction id */
  async function send(key: string, size: number): Promise<string> {
    const signals = Array.from({ length: size }, (_, index) => ({
      context_window_id: key,
      raw_content: `${key} ${index}`,
      dedupe_key: `${key} ${index}`,
      user_id: index % 10 === 0 ? "user" : null,
      signal_score: 0.5,
    }))
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const answer = await ask(
        "/api/signals/batch",
        "POST",
        { signals },
        { "Idempotency-Key": encodeURIComponent(key) },
      )
      if (answer.status === 503) {
        await sleep(100)
        continue
      }
      expect(answer.status, answer.text).toBe(200)
      expect(answer.body.successful_count).toBe(size)
      const transactionId = answer.body.transaction_id as string
      sent.push({ key, transactionId, size })
      return transactionId
    }
    throw new Error(`${key} was not stored`)
  }

  async function feedIds(): Promise<number[]> {
    const ids: number[] = []
    for (let after = ""; ; ) {
      const page = await ok(`/api/signals/feed?limit=1000${after && `&after=${encodeURIComponent(after)}`}`)
      ids.push(...page.signals.map(({ id }: { id: number }) => id))
      after = page.next_cursor
      if (!page.more) return ids
    }
  }

  const sendDeadLetter = () => ok("/webhooks/kafka", "POST", [{ raw_content: "without a conversation" }])

  async function erase(user: string): Promise<void> {
    await ok("/api/signals", "POST", { context_window_id: "erased", user_id: user, raw_content: user })
    const { id } = await ok("/api/erasures", "POST", { user_id: user })
    await waitFor(async () => expect((await ok(`/api/erasures/${id}`)).state).toBe("done"))
    const { signals } = await ok(`/api/signals?user_id=${encodeURIComponent(user)}`)
    expect(signals).toEqual([])
  }

  /** Calls everything that all versions have. `name` is new. */
  async function useEverything(name: string): Promise<void> {
    const transactionId = await send(name, 30)
    expect(await send(name, 30)).toBe(transactionId)
    const duplicate = await ok("/api/signals", "POST", {
      context_window_id: name,
      dedupe_key: `${name} 7`,
    })
    expect(duplicate.duplicate).toBe(true)
    const refused = await ok("/api/signals/batch", "POST", {
      signals: [{ context_window_id: name, signal_score: 2 }, { context_window_id: `${name}, other` }],
    })
    expect(refused).toMatchObject({ successful_count: 1, failed_count: 1 })
    const { signals } = await ok(`/api/signals?context_window_id=${encodeURIComponent(name)}&limit=100`)
    expect(signals).toHaveLength(30)
    expect((await ok(`/api/signals/${signals[0].id}`)).context_window_id).toBe(name)
    expect((await ok(`/api/batches/${transactionId}`)).successful_count).toBe(30)
    expect((await ok("/api/batches?failed=true")).batches.length).toBeGreaterThan(0)
    const stats = await ok("/api/signals/stats?limit=1000")
    expect(JSON.stringify(stats)).toContain(`"${name}"`)
    await ok("/api/storage")
    expect((await ask("/readyz")).status).toBe(200)
    await sendDeadLetter()
    const { dead_letters } = await ok("/api/dead-letters")
    await ok(`/api/dead-letters/${dead_letters[0].id}/replay`, "POST", {})
    await ok(`/api/dead-letters/${dead_letters[0].id}`, "DELETE")
    await erase(`user of ${name}`)
  }

  /** Stores what the first version of 1.0 does not know. */
  async function useNewest(): Promise<void> {
    await send("scored", 10)
    const { signals } = await ok("/api/signals?context_window_id=scored")
    await ok("/api/scores", "POST", {
      scores: [
        { signal_id: signals[0].id, signal_score: 0.9, scored_at: "2026-01-01T00:00:00Z" },
        { dedupe_key: "comes later", signal_score: 0.1, scored_at: "2026-01-01T00:00:00Z" },
      ],
    })
    await send("after the scores", 10)
  }

  /** The batches of which a signal is missing or stored twice. */
  async function misstored(query: (text: string) => Promise<unknown[]>): Promise<string[]> {
    const rows = (await query(
      "select context_window_id as key, count(*)::int4 as rows, count(distinct raw_content)::int4 as contents from signals group by 1",
    )) as { key: string; rows: number; contents: number }[]
    const stored = new Map(rows.map((row) => [row.key, row]))
    return sent
      .filter(({ key, size }) => stored.get(key)?.rows !== size || stored.get(key)?.contents !== size)
      .map(({ key }) => key)
  }

  /** Every mismatch that the audit finds. */
  async function audit(): Promise<unknown[]> {
    const mismatches: unknown[] = []
    for (let cursor: string | null = ""; cursor !== null; ) {
      const page = await ok(`/api/audit?limit=1000${cursor && `&cursor=${cursor}`}`)
      mismatches.push(...page.mismatches)
      cursor = page.next_cursor
    }
    return mismatches
  }

  return { sent, send, feedIds, sendDeadLetter, erase, useEverything, useNewest, misstored, audit }
}
