import { env } from "cloudflare:workers"
import { uuidv7 } from "uuidv7"
import { describe, expect, it } from "vitest"
import type { Bindings } from "../../../src/bindings.ts"
import { retryDelaySeconds } from "../../../src/consumer/consume.ts"
import type { DataPoint } from "../../../src/metrics/points.ts"
import { batchObject, putClaimCheck, unreadableObject } from "../../../src/queue/claim-checks.ts"
import { messageText } from "../../../src/queue/messages.ts"
import type { Delivery } from "../../../src/store/batches/deliveries.ts"
import { countOf, freshConversation, query, send, TOO_LONG_FOR_POSTGRES } from "../service.ts"
import { bodyOf, consume, DEAD_LETTERS, delivery, play, playedMessage, QUEUE } from "./messages.ts"

const UNREACHABLE = { DATABASE_HTTP_ENDPOINT: "http://127.0.0.1:9/sql", DATABASE_DEADLINE_MS: "200" }

const bucket = (env as Bindings).BUCKET as R2Bucket

const record = async (transactionId: string) => (await send(`/api/batches/${transactionId}`)).json()

const deadLettersOf = (transactionId: string) =>
  query<{
    index: number
    reason: string
    code: string
    field: string | null
    record: string
    source: string
  }>(
    "select index, reason, code, field, record, source from dead_letters where transaction_id = $1 order by index",
    [transactionId],
  )

describe("the consumer of the queue", () => {
  it("stores the deliveries of many calls together, each with its own record in the ledger", async () => {
    const conversation = freshConversation()
    const deliveries = Array.from({ length: 100 }, (_, index) =>
      delivery([{ context_window_id: conversation, raw_content: String(index) }]),
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

  it("stores a redelivered message once, in the same batch of messages or a later one", async () => {
    const conversation = freshConversation()
    const bodies = [1, 2, 3].map((index) =>
      bodyOf(delivery([{ context_window_id: conversation, raw_content: String(index) }])),
    )
    await consume([...bodies, ...bodies])
    await consume([
      bodies[2],
      bodyOf(delivery([{ context_window_id: conversation, raw_content: "4" }])),
      bodies[0],
    ])
    expect(await countOf(conversation)).toBe(4)
  })

  it("writes one data point for each run, with parts by source and by code of stored and failed signals", async () => {
    const points: DataPoint[] = []
    const METRICS = { writeDataPoint: (point: DataPoint) => void points.push(point) }
    const conversation = freshConversation()
    const from = (signal_source: string) => ({ context_window_id: conversation, signal_source })
    const refused = { ...from("slack"), payload: { n: JSON.rawJSON(TOO_LONG_FOR_POSTGRES) } }
    await consume(
      [bodyOf(delivery([from("slack"), from("slack"), refused])), bodyOf(delivery([from("axis")]))],
      {
        bindings: { METRICS },
      },
    )
    expect(
      points.map(({ blobs, doubles }) => [blobs[0], blobs[5], blobs[7], doubles[1], doubles[2]]),
    ).toEqual([
      ["QUEUE signals", "mixed", "refused_by_database", 3, 1],
      ["PART", "slack", "", 2, 0],
      ["PART", "axis", "", 1, 0],
    ])
    points.length = 0
    const split = [bodyOf(delivery([from("slack"), refused])), bodyOf(delivery([from("axis")]))]
    for (const bodies of [split, split]) await consume(bodies, { bindings: { METRICS } })
    expect(
      points.filter(({ blobs }) => blobs[0] !== "PART").map(({ doubles }) => [doubles[1], doubles[2]]),
    ).toEqual([
      [2, 1],
      [0, 0],
    ])
    points.length = 0
    const again = bodyOf(delivery([from("axis")]))
    await consume([again, again], { bindings: { METRICS } })
    expect(points.map(({ blobs, doubles }) => [blobs[0], blobs[5], doubles[1]])).toEqual([
      ["QUEUE signals", "axis", 1],
    ])
  })

  it("stores one of the signals that share a dedupe_key, even from different calls", async () => {
    const conversation = freshConversation()
    const signal = { context_window_id: conversation, dedupe_key: conversation }
    await consume([
      bodyOf(delivery([signal])),
      bodyOf(delivery([signal, { context_window_id: conversation }])),
    ])
    expect(await countOf(conversation)).toBe(2)
  })

  it("keeps the records of a delivery that cannot be stored as dead letters, once", async () => {
    const conversation = freshConversation()
    const one = delivery([{ context_window_id: conversation }, { refused: "the record has no key" }])
    await consume([bodyOf(one), bodyOf(one)])
    await consume([bodyOf(one)])
    const { transactionId } = one.batch
    expect(await deadLettersOf(transactionId)).toEqual([
      // A version without codes had put it into the queue.
      {
        index: 1,
        reason: "the record has no key",
        code: "unreadable_record",
        field: null,
        record: '{"refused":"the record has no key"}',
        source: "kafka",
      },
    ])
    expect(await record(transactionId)).toMatchObject({
      failed_count: 1,
      failures: [{ index: 1, error: "the record has no key" }],
    })
  })

  it("keeps a signal that only the database refuses as a dead letter, and stores every other", async () => {
    const conversation = freshConversation()
    const good = delivery([{ context_window_id: conversation, raw_content: "good" }])
    const mixed = delivery([
      { context_window_id: conversation, raw_content: "before" },
      {
        context_window_id: conversation,
        raw_content: "é",
        payload: { n: JSON.rawJSON(TOO_LONG_FOR_POSTGRES) },
      },
      { context_window_id: conversation, raw_content: "after" },
    ])
    for (let time = 0; time < 2; time++) {
      const { explicitAcks } = await consume([bodyOf(mixed), bodyOf(good)])
      expect(explicitAcks).toHaveLength(2)
    }
    expect(await countOf(conversation)).toBe(3)
    const [deadLetter, ...more] = await deadLettersOf(mixed.batch.transactionId)
    expect(more).toEqual([])
    expect(deadLetter).toMatchObject({
      index: 1,
      source: "signal",
      code: "refused_by_database",
      reason: expect.stringContaining("refused by the database"),
    })
    expect(deadLetter?.record).toContain(`"raw_content":"é"`)
    expect(deadLetter?.record).toContain(`"timestamp":"2026-01-02T03:04:05.000000Z"`)
  })

  it("retries every message during an outage of the database", async () => {
    const conversation = freshConversation()
    const body = bodyOf(delivery([{ context_window_id: conversation }]))
    const { explicitAcks, retryMessages } = await consume([body, "no message", body], {
      bindings: UNREACHABLE,
    })
    expect(explicitAcks).toEqual([])
    expect(retryMessages).toHaveLength(3)
    await consume([body])
    expect(await countOf(conversation)).toBe(1)
  })

  it("waits longer each time, up to an hour, and less than a queue's default retention of 4 days in total", () => {
    expect([1, 2, 3, 4, 11, 12, 100].map((attempts) => retryDelaySeconds(attempts))).toEqual([
      2, 4, 8, 16, 2048, 3600, 3600,
    ])
    const totalSeconds = Array.from({ length: 100 }, (_, index) => retryDelaySeconds(index + 1)).reduce(
      (sum, one) => sum + one,
    )
    expect(totalSeconds).toBeLessThan(4 * 24 * 3600)
  })

  it("retries every message after its delay when a setting is wrong, in both queues", async () => {
    const body = bodyOf(delivery([{ context_window_id: freshConversation() }]))
    for (const queue of [QUEUE, DEAD_LETTERS]) {
      const messages = [1, 5].map((attempts) => playedMessage(body, attempts))
      await play(messages, queue, { API_KEYS: "nonsense", BUCKET: undefined as unknown as R2Bucket })
      expect(messages.map(({ said }) => said)).toEqual([{ delaySeconds: 2 }, { delaySeconds: 32 }])
    }
  })

  it("stores other messages despite one that cannot be stored, for any kind of error", async () => {
    const conversation = freshConversation()
    const good = () => bodyOf(delivery([{ context_window_id: conversation }]))
    const poison = bodyOf(delivery([{ context_window_id: conversation }], "no uuid"))
    const bodies = [poison, good(), good(), poison, good()]
    const { explicitAcks, retryMessages } = await consume(bodies)
    expect(explicitAcks).toHaveLength(3)
    expect(retryMessages.map(({ msgId }) => msgId.slice(-2))).toEqual(["-0", "-3"])
    expect(await countOf(conversation)).toBe(3)
  })

  it("stores later messages despite a claim check that cannot be stored", async () => {
    const conversation = freshConversation()
    const claimCheck = async (one: Delivery) => {
      const object = await putClaimCheck(bucket, { kind: "deliveries", deliveries: [one] })
      return messageText({ version: 1, kind: "claim_check", object })
    }
    const bodies = [await claimCheck(delivery([{ context_window_id: conversation }], "no uuid"))]
    for (let index = 0; index < 3; index++)
      bodies.push(await claimCheck(delivery([{ context_window_id: conversation }])))
    const { explicitAcks, retryMessages } = await consume(bodies)
    expect([explicitAcks.length, retryMessages.length]).toEqual([3, 1])
    expect(await countOf(conversation)).toBe(3)
  })

  it("splits work that takes too long for one statement", async () => {
    const conversation = freshConversation()
    const bodies = Array.from({ length: 4 }, (_, index) =>
      bodyOf(
        delivery([{ context_window_id: conversation, dedupe_key: index === 2 ? conversation : undefined }]),
      ),
    )
    // Another transaction holds the dedupe_key of one message, so that its statement waits.
    const holding = query(
      `with held as (insert into dedupe_keys (key_hash, signal_id) values (dedupe_key_hash('${conversation}'), 0) returning 1)
       select pg_sleep(300) from held`,
    ).catch(() => {})
    const holder = `from pg_stat_activity where wait_event = 'PgSleep' and query like '%${conversation}%'`
    await expect.poll(() => query(`select ${holder}`)).toHaveLength(1)
    const { explicitAcks, retryMessages } = await consume(bodies, {
      limits: { statementMs: 2500 },
      bindings: { DATABASE_DEADLINE_MS: "2000" },
    })
    await query(`select pg_terminate_backend(pid) ${holder}`)
    expect(explicitAcks).toHaveLength(3)
    expect(retryMessages.map(({ msgId }) => msgId.slice(-2))).toEqual(["-2"])
    await holding
  })

  it("stops at its deadline and retries the rest", async () => {
    const conversation = freshConversation()
    const bodies = [1, 2].map(() => bodyOf(delivery([{ context_window_id: conversation }])))
    const { explicitAcks, retryMessages } = await consume(bodies, { limits: { totalMs: 0 } })
    expect([explicitAcks.length, retryMessages.length]).toEqual([0, 2])
  })

  it("stores the deliveries of a claim check, and deletes it", async () => {
    const conversation = freshConversation()
    const deliveries = [1, 2].map(() => delivery([{ context_window_id: conversation }]))
    const object = await putClaimCheck(bucket, { kind: "deliveries", deliveries })
    const body = messageText({ version: 1, kind: "claim_check", object })
    const { explicitAcks } = await consume([body, body])
    expect(explicitAcks).toHaveLength(2)
    expect(await countOf(conversation)).toBe(2)
    expect(await bucket.head(object)).toBeNull()
  })

  it.each([
    ["JSON", "{not json"],
    ["of this version", '{"version":2,"kind":"batch"}\n{}'],
    ["a batch", '{"version":1,"kind":"batch","record":{"state":"queued","total_count":3}}\n{"plan":{}}'],
  ])("makes one dead letter of a claim check that is not %s, and moves the object", async (_, text) => {
    const id = crypto.randomUUID()
    const object = batchObject(id)
    for (let time = 0; time < 2; time++) {
      await bucket.put(object, text)
      const { explicitAcks } = await consume([messageText({ version: 1, kind: "claim_check", object })])
      expect(explicitAcks).toHaveLength(1)
    }
    expect(await bucket.head(object)).toBeNull()
    expect(await (await bucket.get(unreadableObject(object)))?.text()).toBe(text)
    const deadLetters = await query<{ record: string; code: string }>(
      "select record, code from dead_letters where reason like $1",
      [`%${object}%`],
    )
    expect(deadLetters.map(({ code }) => code)).toEqual(["unreadable_message"])
    // Replayed, it is read from where it is now, and stays there when it still can't be read.
    await consume([JSON.parse(deadLetters[0]?.record ?? "")])
    expect(await bucket.head(unreadableObject(object))).not.toBeNull()
  })

  it("keeps messages in the bucket after hours of an outage, and retries them before", async () => {
    const conversation = freshConversation()
    const bodies = [1, 2].map(() => bodyOf(delivery([{ context_window_id: conversation }])))
    const early = await consume(bodies, { bindings: UNREACHABLE, attempts: 12 })
    expect([early.explicitAcks.length, early.retryMessages.length]).toEqual([0, 2])
    const { objects: before } = await bucket.list({ prefix: "deliveries/" })
    const late = await consume(bodies, { bindings: UNREACHABLE, attempts: 13 })
    expect([late.explicitAcks.length, late.retryMessages.length]).toEqual([2, 0])
    const { objects } = await bucket.list({ prefix: "deliveries/" })
    const added = objects.filter(({ key }) => !before.some((one) => one.key === key))
    expect(added).toHaveLength(1)
    await consume(added.map(({ key }) => messageText({ version: 1, kind: "claim_check", object: key })))
    expect(await countOf(conversation)).toBe(2)
  })

  it("retries while neither the database nor the bucket accepts a message", async () => {
    const body = bodyOf(delivery([{ context_window_id: freshConversation() }]))
    const broken = { put: () => Promise.reject(new Error("R2 is away")) } as unknown as R2Bucket
    for (const BUCKET of [broken, undefined as unknown as R2Bucket]) {
      const messages = [body, "no message"].map((one) => playedMessage(one, 50))
      await play(messages, DEAD_LETTERS, { ...UNREACHABLE, BUCKET })
      expect(messages.map(({ said }) => said)).toEqual([{ delaySeconds: 7200 }, { delaySeconds: 7200 }])
    }
  })

  it("keeps a message that no version of the service reads as a dead letter", async () => {
    const text = JSON.stringify({ version: 99, note: uuidv7() })
    const { explicitAcks } = await consume([text])
    expect(explicitAcks).toHaveLength(1)
    const deadLetters = await query("select source, code, reason from dead_letters where record = $1", [
      JSON.stringify(text),
    ])
    expect(deadLetters).toEqual([
      { source: "queue", code: "unreadable_message", reason: "No version of the service reads it." },
    ])
  })

  it("turns the messages in the dead-letter queue into dead letters", async () => {
    const body = bodyOf(delivery([{ context_window_id: freshConversation() }]))
    const { explicitAcks } = await consume([body], { queue: DEAD_LETTERS })
    expect(explicitAcks).toHaveLength(1)
    const deadLetters = await query("select source, code, reason from dead_letters where record = $1", [
      JSON.stringify(body),
    ])
    expect(deadLetters).toEqual([
      {
        source: "queue",
        code: "unprocessed_message",
        reason: "It could not be stored in any attempt. Repair the cause, then replay it.",
      },
    ])
  })
})
