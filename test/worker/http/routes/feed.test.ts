import { beforeEach, describe, expect, it } from "vitest"
import { MAX_WAITING_READERS } from "../../../../src/http/request/bounds.ts"
import { encodeFeedCursor } from "../../../../src/http/request/params.ts"
import { takeWaitingSlot } from "../../../../src/http/routes/feed.ts"
import type { FeedAnswer } from "../../../../src/signals/responses.ts"
import { freshConversation, postBatch, query, send } from "../../service.ts"

interface Query {
  after?: string
  limit?: number
  wait?: number
}

const ask = (parameters: Query) =>
  send(
    `/api/signals/feed?${new URLSearchParams(Object.entries(parameters).map(([name, value]) => [name, String(value)]))}`,
  )

async function read(parameters: Query): Promise<FeedAnswer> {
  const response = await ask(parameters)
  expect([response.status, response.headers.get("Cache-Control")], await response.clone().text()).toEqual([
    200,
    "no-store",
  ])
  return (await response.json()) as FeedAnswer
}

/** What this test stores, since others store meanwhile. */
let conversation = ""

const ownOf = ({ signals }: FeedAnswer) =>
  signals.filter(({ context_window_id }) => context_window_id === conversation)

/**
 * Reads on until nothing follows.
 *
 * @param own how many signals of this test come in pages of `limit`; the pages after them are large, since
 *   other tests store thousands of signals
 */
async function readAll(after: string | undefined, limit = 1000, own = 0): Promise<(string | null)[]> {
  const contents: (string | null)[] = []
  for (let cursor = after; ; ) {
    const most = contents.length < own ? limit : 1000
    const answer = await read({ ...(cursor !== undefined && { after: cursor }), limit: most })
    expect(answer.signals.length).toBeLessThanOrEqual(most)
    contents.push(...ownOf(answer).map(({ raw_content }) => raw_content))
    cursor = answer.next_cursor
    // A transaction of another test, which is open, holds back what comes after it.
    if (!answer.more && answer.lag_seconds === 0) return contents
  }
}

interface Sent {
  raw_content: string
  dedupe_key?: string
  signal_score?: number
}

async function store(...signals: Sent[]): Promise<number[]> {
  const response = await postBatch({
    signals: signals.map((signal) => ({ context_window_id: conversation, ...signal })),
  })
  const { results } = (await response.json()) as { results: { signal_id: number }[] }
  return results.map(({ signal_id }) => signal_id)
}

const numbered = (count: number, more: object = {}) =>
  Array.from({ length: count }, (_, index): Sent => ({ raw_content: String(index), ...more }))

let end = ""

beforeEach(async () => {
  conversation = freshConversation()
  end = (await read({ after: "now" })).next_cursor
})

describe("the feed", () => {
  it("starts at the oldest signal, and with after=now after the newest", async () => {
    await store({ raw_content: "one" })
    expect(await readAll(undefined)).toEqual(["one"])
    expect(await readAll("now")).toEqual([])
  })

  it("has the signals of each batch in batch order, batch after batch, in pages of any size", async () => {
    await store(...numbered(7))
    await store({ raw_content: "a" }, { raw_content: "b" })
    const all = ["0", "1", "2", "3", "4", "5", "6", "a", "b"]
    expect(await readAll(end)).toEqual(all)
    expect(await readAll(end, 1, all.length)).toEqual(all)
    expect(await readAll(end, 3, all.length)).toEqual(all)
  })

  it("leaves out duplicates, failed signals and erased ones, and continues after them", async () => {
    const dedupe_key = crypto.randomUUID()
    const ids = await store({ raw_content: "first", dedupe_key }, { raw_content: "erased" })
    await store(
      { raw_content: "again", dedupe_key },
      { raw_content: "bad", signal_score: 7 },
      { raw_content: "last" },
    )
    await query("delete from signals where id = $1::int8", [ids[1]])
    expect(await readAll(end, 1, 2)).toEqual(["first", "last"])
  })

  it("ends a page by bytes", async () => {
    const text = "x".repeat(900_000)
    for (let batch = 0; batch < 3; batch++)
      await store(...numbered(5).map(({ raw_content }) => ({ raw_content: raw_content + text })))
    let first = await read({ after: end, limit: 1000 })
    while (!first.more && first.lag_seconds > 0) first = await read({ after: end, limit: 1000 })
    expect([ownOf(first).length < 15, first.more]).toEqual([true, true])
    const contents = [
      ...ownOf(first).map(({ raw_content }) => raw_content),
      ...(await readAll(first.next_cursor)),
    ]
    expect(contents.map((content) => content?.[0]).join("")).toBe("012340123401234")
  })

  it("has each signal once where an id is in the ranges of two batches, and a page ends at it", async () => {
    const text = "x".repeat(1_000_000)
    await store({ raw_content: `a${text}` })
    const ids = await store(...numbered(8).map(({ raw_content }) => ({ raw_content: raw_content + text })))
    const later = await store({ raw_content: `8${text}` }, { raw_content: "9" })
    // The third signal becomes the later batch's first. The range of the first batch still has its id.
    const [batch] = await query<{ transaction_id: string }>(
      "select transaction_id from signals where id = $1::int8",
      [later[0]],
    )
    await query("update signals set transaction_id = $1 where id = $2::int8", [batch?.transaction_id, ids[2]])
    await query("update batches set signal_ids = $2 || signal_ids where transaction_id = $1", [
      batch?.transaction_id,
      `${ids[2]}:1,`,
    ])
    const contents = await readAll(end)
    expect(contents.map((content) => content?.[0]).join("")).toBe("a0134567289")
  })

  it("answers a waiting reader at once when there is a signal, or else when one arrives or the time is over", async () => {
    const startedAt = Date.now()
    const waiting = read({ after: end, wait: 30 })
    await store({ raw_content: "came" })
    expect((await waiting).signals.length).toBeGreaterThan(0)
    expect(Date.now() - startedAt, "before its time is over").toBeLessThan(30_000)
    expect(await readAll(end)).toEqual(["came"])
  })

  it("lets a bounded number of readers of an isolate wait", async () => {
    const slots = Array.from({ length: MAX_WAITING_READERS }, () => takeWaitingSlot())
    expect(takeWaitingSlot()).toBeUndefined()
    // A reader that has left without a word makes room.
    expect(takeWaitingSlot(undefined, Date.now() + 60_000)?.release()).toBeUndefined()
    for (const slot of slots) slot?.release()
    const taken = Array.from({ length: MAX_WAITING_READERS }, () => takeWaitingSlot())
    const refused = await ask({ after: (await read({ after: "now" })).next_cursor, wait: 2 })
    // Unless another test has stored a signal in between.
    if (refused.status !== 200)
      expect([refused.status, refused.headers.get("Retry-After")]).toEqual([503, "5"])
    for (const slot of taken) slot?.release()
  })
})

describe("a cursor of the feed", () => {
  const newest = "018f0000-0000-7000-8000-000000000000"
  it.each([
    ["no cursor at all", "nonsense"],
    ["a cursor of the list", btoa('["2026-01-01T00:00:00.000000Z",1]')],
    ["one of another version", btoa(`[2,"1","${newest}",null]`)],
    ["one with a transaction beyond 64 bits", btoa(`[1,"18446744073709551616","${newest}",null]`)],
  ])("that is %s is refused", async (_, after) => {
    const response = await ask({ after })
    expect([response.status, await response.json()]).toMatchObject([
      422,
      { detail: [{ loc: ["query", "after"] }] },
    ])
  })

  it.each<[string, (now: string) => Parameters<typeof encodeFeedCursor>[0]]>([
    ["a batch that the ledger never had", (now) => ({ xid: "1", transactionId: now, id: null })],
    ["a transaction that has not begun", () => ({ xid: "9999999999", transactionId: newest, id: null })],
  ])(
    "of %s is refused with the reason that the database was restored, or is another one",
    async (_, position) => {
      const [row] = await query<{ id: string }>(
        "select transaction_id as id from batches order by created_at desc limit 1",
      )
      const now = (row?.id ?? newest).replace(/.{12}$/, "000000000000")
      const response = await ask({ after: encodeFeedCursor(position(now)) })
      const detail = [
        { type: "feed_cursor_unknown", loc: ["query", "after"], msg: expect.stringContaining("restored") },
      ]
      const body = { code: "invalid_request", detail }
      expect([response.status, await response.json()]).toEqual([422, body])
    },
  )

  it("of another timeline is refused for as long as the ledger keeps rows", async () => {
    const daysAgo = (days: number) => {
      const time = (Date.now() - days * 86_400_000).toString(16).padStart(12, "0")
      return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-000000000001`
    }
    const statusAt = async (days: number) =>
      (await ask({ after: encodeFeedCursor({ xid: "1", transactionId: daysAgo(days), id: null }) })).status
    for (const days of [1, 8, 89]) expect([days, await statusAt(days)]).toEqual([days, 422])
    expect(await statusAt(91)).toBe(200)
  })

  it("a cursor of a ledger row that retention has removed still works", async () => {
    await store({ raw_content: "after" })
    const cursor = encodeFeedCursor({ xid: "1", transactionId: newest, id: null })
    expect(await readAll(cursor)).toEqual(["after"])
  })
})
