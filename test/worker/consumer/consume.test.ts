import { env } from "cloudflare:workers"
import { uuidv7 } from "uuidv7"
import { describe, expect, it } from "vitest"
import type { Bindings } from "../../../src/config.ts"
import { retryDelaySeconds } from "../../../src/consumer/consume.ts"
import { deliveryObject, messageText } from "../../../src/queue/messages.ts"
import { countOf, freshConversation, query, send } from "../service.ts"
import { bodyOf, consume, DEAD_LETTERS, delivery } from "./messages.ts"

const UNREACHABLE = { DATABASE_HTTP_ENDPOINT: "http://127.0.0.1:9/sql", DATABASE_DEADLINE_MS: "200" }

const record = async (transactionId: string) => (await send(`/api/batches/${transactionId}`)).json()

const lettersOf = (transactionId: string) =>
  query<{ index: number; reason: string; record: string; source: string }>(
    "select index, reason, record, source from dead_letters where transaction_id = $1 order by index",
    [transactionId],
  )

describe("the consumer of the queue", () => {
  it("stores the deliveries of many calls together, each with its own record in the ledger", async () => {
    const conversation = freshConversation()
    const deliveries = Array.from({ length: 100 }, (_, place) =>
      delivery([{ context_window_id: conversation, raw_content: String(place) }]),
    )
    const { explicitAcks, retryMessages } = await consume(deliveries.map(bodyOf))
    expect(explicitAcks).toHaveLength(100)
    expect(retryMessages).toEqual([])
    expect(await countOf(conversation)).toBe(100)
    expect(await record(deliveries[41]?.batch.transactionId ?? "")).toMatchObject({
      state: "stored",
      total_count: 1,
      successful_count: 1,
    })
  })

  it("stores once what is delivered again, in the same batch of messages or a later one", async () => {
    const conversation = freshConversation()
    const bodies = [1, 2, 3].map((place) => bodyOf(delivery([{ context_window_id: conversation, raw_content: String(place) }])))
    await consume([...bodies, ...bodies])
    await consume([bodies[2], bodyOf(delivery([{ context_window_id: conversation, raw_content: "4" }])), bodies[0]])
    expect(await countOf(conversation)).toBe(4)
  })

  it("stores one signal of those that share a dedupe_key, whichever calls they came in", async () => {
    const conversation = freshConversation()
    const signal = { context_window_id: conversation, dedupe_key: conversation }
    await consume([bodyOf(delivery([signal])), bodyOf(delivery([signal, { context_window_id: conversation }]))])
    expect(await countOf(conversation)).toBe(2)
  })

  it("keeps as dead letters what came with the delivery and can't be stored, once", async () => {
    const conversation = freshConversation()
    const one = delivery([{ context_window_id: conversation }, { refused: "the record has no key" }])
    await consume([bodyOf(one), bodyOf(one)])
    await consume([bodyOf(one)])
    const { transactionId } = one.batch
    expect(await lettersOf(transactionId)).toEqual([
      { index: 1, reason: "the record has no key", record: '{"refused":"the record has no key"}', source: "kafka" },
    ])
    expect(await record(transactionId)).toMatchObject({
      failed_count: 1,
      failures: [{ index: 1, error: "the record has no key" }],
    })
  })

  it("keeps as a dead letter the signal that only the database refuses, and stores every other", async () => {
    const conversation = freshConversation()
    const good = delivery([{ context_window_id: conversation, raw_content: "good" }])
    const mixed = delivery([
      { context_window_id: conversation, raw_content: "before" },
      // Beyond what Postgres' numeric holds.
      { context_window_id: conversation, raw_content: "é", payload: { n: JSON.rawJSON(`1e${"9".repeat(6)}`) } },
      { context_window_id: conversation, raw_content: "after" },
    ])
    for (let time = 0; time < 2; time++) {
      const { explicitAcks } = await consume([bodyOf(mixed), bodyOf(good)])
      expect(explicitAcks).toHaveLength(2)
    }
    expect(await countOf(conversation)).toBe(3)
    const [letter, ...more] = await lettersOf(mixed.batch.transactionId)
    expect(more).toEqual([])
    expect(letter).toMatchObject({ index: 1, source: "signal", reason: expect.stringContaining("refused by the database") })
    expect(letter?.record).toContain(`"raw_content":"é"`)
    expect(letter?.record).toContain(`"timestamp":"2026-01-02T03:04:05.000000Z"`)
  })

  it("has everything delivered again while the database is away", async () => {
    const conversation = freshConversation()
    const body = bodyOf(delivery([{ context_window_id: conversation }]))
    const { explicitAcks, retryMessages } = await consume([body, "no message", body], { bindings: UNREACHABLE })
    expect(explicitAcks).toEqual([])
    expect(retryMessages).toHaveLength(3)
    await consume([body])
    expect(await countOf(conversation)).toBe(1)
  })

  it("waits longer each time, and never longer than it has waited in all, up to ten minutes", () => {
    expect([1, 2, 3, 4, 9, 10, 100].map(retryDelaySeconds)).toEqual([2, 4, 8, 16, 512, 600, 600])
  })

  it("does not let one message that breaks it hold up the others", async () => {
    const conversation = freshConversation()
    const broken = messageText({ version: 1, kind: "delivery", delivery: { batch: {}, letters: [] } as never })
    const { explicitAcks, retryMessages } = await consume([bodyOf(delivery([{ context_window_id: conversation }])), broken])
    expect(explicitAcks).toEqual([expect.stringMatching(/-0$/)])
    expect(retryMessages).toEqual([{ msgId: expect.stringMatching(/-1$/) }])
    expect(await countOf(conversation)).toBe(1)
  })

  it("stores a delivery that waits in the bucket, and empties its place", async () => {
    const conversation = freshConversation()
    const one = delivery([{ context_window_id: conversation }])
    const { BUCKET: bucket } = env as Bindings
    const object = deliveryObject(one.batch.transactionId)
    await bucket?.put(object, JSON.stringify(one))
    const body = messageText({ version: 1, kind: "parked_delivery", object })
    const { explicitAcks } = await consume([body, body])
    expect(explicitAcks).toHaveLength(2)
    expect(await countOf(conversation)).toBe(1)
    expect(await bucket?.head(object)).toBeNull()
  })

  it("keeps a message that no version of the service reads as a dead letter", async () => {
    const text = JSON.stringify({ version: 99, note: uuidv7() })
    const { explicitAcks } = await consume([text])
    expect(explicitAcks).toHaveLength(1)
    const letters = await query("select source, reason from dead_letters where record = $1", [JSON.stringify(text)])
    expect(letters).toEqual([{ source: "queue", reason: "No version of the service reads it." }])
  })

  it("keeps what Cloudflare has put aside in the dead-letter queue", async () => {
    const body = bodyOf(delivery([{ context_window_id: freshConversation() }]))
    const { explicitAcks } = await consume([body], { queue: DEAD_LETTERS })
    expect(explicitAcks).toHaveLength(1)
    const letters = await query("select source, reason from dead_letters where record = $1", [JSON.stringify(body)])
    expect(letters).toEqual([{ source: "queue", reason: "It could not be worked off, however often it was tried." }])
  })
})
