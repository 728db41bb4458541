import { uuidv7 } from "uuidv7"
import { describe, expect, it } from "vitest"
import { FieldMapping } from "../../../src/bridges/kafka/mapping.ts"
import { planDelivery } from "../../../src/bridges/plan-delivery.ts"
import { keepDeadLetters } from "../../../src/consumer/dead-letters.ts"
import { acceptDelivery } from "../../../src/ingest/accept-delivery.ts"
import { continueErasure } from "../../../src/ingest/erase.ts"
import { replayDeadLetter, replayDeadLetters } from "../../../src/ingest/replay.ts"
import { newBatch } from "../../../src/ingest/store-batch.ts"
import { batchObject, putClaimCheck } from "../../../src/queue/claim-checks.ts"
import { messageText } from "../../../src/queue/messages.ts"
import type { Delivered } from "../../../src/signals/plan.ts"
import { timeLimitAt } from "../../../src/signals/rules.ts"
import { deadLetterById, insertDeadLetters } from "../../../src/store/dead-letters/store.ts"
import { type ErasureTarget, enterErasure, findErasure } from "../../../src/store/lifecycle/erasures.ts"
import { bodyOf, consume, DEAD_LETTERS, delivery } from "../consumer/messages.ts"
import { bindings, countOf, freshConversation, query, TOO_LONG_FOR_POSTGRES } from "../service.ts"
import { requestOf, testContext } from "./context.ts"

const replaying = {
  mapping: FieldMapping.parse({}),
  followSlackEdits: false,
  timeLimit: timeLimitAt(new Date(), 86_400),
}

async function begin(target: ErasureTarget, suppress = true): Promise<string> {
  const { record } = await enterErasure(testContext().db, {
    requestedBy: "tests",
    target,
    suppress,
    idempotency: undefined,
  })
  return record.id
}

const continued = (id: string, changed: Parameters<typeof testContext>[0] = {}) =>
  continueErasure(testContext(changed), id, Date.now() + 10_000)

const stateOf = async (id: string) => (await findErasure(testContext().db, id))?.state

/** A user that is suppressed, and a conversation of the test's own. */
async function suppressedUser() {
  const user_id = `user ${crypto.randomUUID()}`
  await begin({ kind: "user_id", subject: user_id })
  return { user_id, context_window_id: freshConversation() }
}

const received = (delivered: Delivered[]) => ({
  source: "kafka" as const,
  caller: "webhook:kafka",
  records: delivered,
  plan: planDelivery(delivered, "2026-01-02T03:04:05.000000Z"),
})

const deadLettersOf = (user: string) =>
  query("select id from dead_letters where strpos(record, $1) > 0", [user])

describe("a signal of a suppressed user", () => {
  it("is skipped by name where a webhook stores at once, even when it breaks a rule, without a dead letter", async () => {
    const signal = await suppressedUser()
    const delivered = [
      { signal },
      { signal: { ...signal, user_id: "another" } },
      { signal: { ...signal, signal_score: 7 } },
    ]
    const { answer } = await acceptDelivery(testContext({ queue: undefined }), received(delivered))
    expect(answer).toMatchObject({
      state: "stored",
      total_count: 2,
      accepted_count: 1,
      skipped: { suppressed: 1 },
    })
    expect(await countOf(signal.context_window_id)).toBe(1)
    expect(await deadLettersOf(signal.user_id)).toEqual([])
    const { answer: alone } = await acceptDelivery(testContext({ queue: undefined }), received([{ signal }]))
    expect(alone).toMatchObject({
      state: "skipped",
      total_count: 0,
      failed_count: 0,
      skipped: { suppressed: 1 },
    })
  })

  it("is acknowledged by the consumer, and neither stored nor kept as a dead letter", async () => {
    const signal = await suppressedUser()
    const one = delivery([signal, { ...signal, user_id: "another" }])
    const { explicitAcks, retryMessages } = await consume([bodyOf(one)])
    expect([explicitAcks.length, retryMessages]).toEqual([1, []])
    expect(await countOf(signal.context_window_id)).toBe(1)
    expect(await deadLettersOf(signal.user_id)).toEqual([])
  })

  it("is left out of a batch that waited in the bucket, and fails an all-or-nothing batch", async () => {
    const { BUCKET: bucket } = bindings
    if (!bucket) throw new Error("no bucket is bound")
    const signal = await suppressedUser()
    for (const allOrNothing of [false, true]) {
      const batch = newBatch(requestOf([signal, { ...signal, user_id: "another" }], { allOrNothing }))
      await putClaimCheck(bucket, { kind: "batch", record: {} as never, batch })
      await consume([
        messageText({ version: 1, kind: "claim_check", object: batchObject(batch.transactionId) }),
      ])
      expect(await bucket.head(batchObject(batch.transactionId))).toBeNull()
      const [ledger] = await query("select state, failures from batches where transaction_id = $1", [
        batch.transactionId,
      ])
      expect(ledger).toMatchObject({
        state: allOrNothing ? "failed" : "stored",
        failures: [{ index: 0, code: "suppressed" }],
      })
    }
    expect(await countOf(signal.context_window_id)).toBe(1)
  })

  it("is deleted where it is a dead letter that is replayed, alone and with others", async () => {
    const signal = await suppressedUser()
    const ids: number[] = []
    for (const value of [signal, signal, { ...signal, user_id: "another" }]) {
      const transactionId = uuidv7()
      const record = JSON.stringify({ value })
      await insertDeadLetters(testContext().db, [
        {
          transactionId,
          index: 0,
          source: "kafka",
          caller: "bridge",
          reason: "why",
          code: "unreadable_record",
          record,
        },
      ])
      const [row] = await query<{ id: string }>("select id from dead_letters where transaction_id = $1", [
        transactionId,
      ])
      ids.push(Number(row?.id))
    }
    const [first = 0, second = 0, other = 0] = ids
    const deadLetter = await deadLetterById(testContext().db, first)
    if (!deadLetter) throw new Error("the dead letter is gone")
    const reason =
      "user_id is suppressed: it was erased on request, and its signals are refused. The dead letter was deleted."
    const alone = await replayDeadLetter({ ...testContext(), ...replaying }, deadLetter)
    expect(alone.answer).toEqual({ replayed: false, reason })
    const choice = { ids: [second, other], state: "waiting" as const, limit: 10 }
    const many = await replayDeadLetters({ ...testContext(), ...replaying }, choice)
    expect(many.answer).toMatchObject({ replayed_count: 1, failures: [{ id: second, reason }] })
    expect(await query("select id, state from dead_letters where id = any($1::int8[])", [ids])).toEqual([
      { id: String(other), state: "replayed" },
    ])
    expect(await countOf(signal.context_window_id)).toBe(1)
  })
})

describe("a signal that waits in the queue when an erasure without suppression starts", () => {
  it("is not stored, and later signals are", async () => {
    const user_id = `user ${crypto.randomUUID()}`
    const context_window_id = freshConversation()
    const waiting = delivery([{ context_window_id, user_id }])
    await begin({ kind: "user_id", subject: user_id }, false)
    await consume([bodyOf(waiting)])
    expect(await countOf(context_window_id)).toBe(0)
    await consume([bodyOf(delivery([{ context_window_id, user_id }]))])
    expect(await countOf(context_window_id)).toBe(1)
  })
})

/** Keeps a message of the queue as a dead letter. */
const keepMessage = (message: string) =>
  keepDeadLetters(testContext().db, [{ id: crypto.randomUUID(), body: message }])

/** The message in the dead letter that has this text. */
async function messageAbout(text: string): Promise<string> {
  const [row] = await query<{ record: string }>(
    "select record from dead_letters where strpos(record, $1) > 0",
    [text],
  )
  return JSON.parse(row?.record ?? "")
}

describe("a message that becomes a dead letter after an erasure is done", () => {
  it.each([false, true])(
    "is kept without the signals of the subject, whose dedupe keys stay taken (suppress: %s)",
    async (suppress) => {
      const [user_id, context_window_id] = [`user ${crypto.randomUUID()}`, freshConversation()]
      const [own, others] = [`own ${context_window_id}`, `others ${context_window_id}`]
      const signals = [
        { context_window_id, user_id, dedupe_key: own },
        { context_window_id, dedupe_key: others },
      ]
      const untouched = { context_window_id: freshConversation() }
      const messages = [bodyOf(delivery(signals)), bodyOf(delivery([untouched]))]
      const id = await begin({ kind: "user_id", subject: user_id }, suppress)
      await continued(id)
      expect(await stateOf(id)).toBe("done")

      expect((await consume(messages, { queue: DEAD_LETTERS })).explicitAcks).toHaveLength(2)
      expect(await deadLettersOf(user_id)).toEqual([])
      expect(await messageAbout(untouched.context_window_id)).toBe(messages[1])
      await consume([bodyOf(delivery(signals))])
      await consume([await messageAbout(context_window_id)])
      expect(
        await query("select dedupe_key from signals where context_window_id = $1", [context_window_id]),
      ).toEqual([{ dedupe_key: others }])
    },
  )

  it("is kept when only the text of another's signal names the subject", async () => {
    const [user_id, context_window_id] = [`user ${crypto.randomUUID()}`, freshConversation()]
    const message = bodyOf(
      delivery([
        { context_window_id, user_id },
        { context_window_id, raw_content: "another's", payload: { answered: user_id } },
      ]),
    )
    await continued(await begin({ kind: "user_id", subject: user_id }))
    expect((await consume([message], { queue: DEAD_LETTERS })).explicitAcks).toHaveLength(1)
    await consume([await messageAbout(context_window_id)])
    expect(
      await query("select raw_content from signals where context_window_id = $1", [context_window_id]),
    ).toEqual([{ raw_content: "another's" }])
  })
})

describe("an erasure of a subject that is named like a part of a record", () => {
  it.each(["value", "record", "topic", "1", "and", "plan", "batch", "message", "kafka", "rows"])(
    "removes nothing about other subjects: %s",
    async (user_id) => {
      const context_window_id = freshConversation()
      const bad = { context_window_id, user_id: "another", signal_score: 7 }
      const { BUCKET: bucket } = bindings
      if (!bucket) throw new Error("no bucket is bound")
      await acceptDelivery(testContext({ queue: undefined }), received([{ signal: bad }]))
      await keepMessage(bodyOf(delivery([{ context_window_id, user_id: "another" }])))
      await putClaimCheck(bucket, { kind: "deliveries", deliveries: [delivery([bad])] })
      const before = await deadLettersOf(context_window_id)
      expect(before).toHaveLength(2)
      const queue = {
        sendBatch: async (messages: unknown[]) => expect(messages).toEqual([]),
      } as unknown as Queue
      const id = await begin({ kind: "user_id", subject: user_id }, false)
      await continued(id, { queue })
      expect(await stateOf(id)).toBe("done")
      expect(await deadLettersOf(context_window_id)).toEqual(before)
      const { erased } = (await findErasure(testContext().db, id)) ?? {}
      expect(erased).toEqual({ signals: 0, dead_letters: 0, ledger_texts: 0, waiting_records: 0 })
    },
  )
})

describe("an erasure", () => {
  it("waits until what holds the subject in the bucket is stored without it", async () => {
    const { BUCKET: bucket } = bindings
    if (!bucket) throw new Error("no bucket is bound")
    const user_id = `user ${crypto.randomUUID()}`
    const context_window_id = freshConversation()
    const batch = newBatch(requestOf([{ context_window_id, user_id }, { context_window_id }]))
    await putClaimCheck(bucket, { kind: "batch", record: {} as never, batch })
    await bucket.put(`unreadable/${context_window_id}`, JSON.stringify({ version: 9, user_id }))
    const id = await begin({ kind: "user_id", subject: user_id })
    const sent: string[] = []
    const queue = {
      sendBatch: async (messages: { body: string }[]) => void sent.push(...messages.map(({ body }) => body)),
    } as unknown as Queue
    await continued(id, { queue })
    expect(await stateOf(id)).toBe("running")
    await consume(sent)
    await continued(id, { queue })
    expect(await stateOf(id)).toBe("done")
    expect(await bucket.head(`unreadable/${context_window_id}`)).toBeNull()
    expect(await countOf(context_window_id)).toBe(1)
  })

  it("an erasure without suppression takes the dedupe keys of the subject in a dead letter that is a whole message", async () => {
    const user_id = `user ${crypto.randomUUID()}`
    const context_window_id = freshConversation()
    const [own, others] = [`own ${context_window_id}`, `others ${context_window_id}`]
    const signals = [
      { context_window_id, user_id, dedupe_key: own },
      { context_window_id, dedupe_key: others },
    ]
    await keepMessage(bodyOf(delivery(signals)))
    const id = await begin({ kind: "user_id", subject: user_id }, false)
    await continued(id)
    expect(await stateOf(id)).toBe("done")
    // The sender's late retry: an erased signal does not come back, and another's is stored once.
    await consume([bodyOf(delivery(signals))])
    await consume([await messageAbout(context_window_id)])
    expect(
      await query("select dedupe_key from signals where context_window_id = $1", [context_window_id]),
    ).toEqual([{ dedupe_key: others }])
  })

  it("without suppression takes the dedupe key of a dead letter that only the database had refused", async () => {
    const [user_id, context_window_id] = [`user ${crypto.randomUUID()}`, freshConversation()]
    const dedupe_key = `key ${context_window_id}`
    const payload = { number: JSON.rawJSON(TOO_LONG_FOR_POSTGRES) }
    await consume([bodyOf(delivery([{ context_window_id, user_id, dedupe_key, payload }]))])
    expect(await query("select source from dead_letters where strpos(record, $1) > 0", [user_id])).toEqual([
      { source: "signal" },
    ])
    await continued(await begin({ kind: "user_id", subject: user_id }, false))
    expect(await deadLettersOf(user_id)).toEqual([])
    await consume([bodyOf(delivery([{ context_window_id, user_id, dedupe_key }]))])
    expect(await countOf(context_window_id)).toBe(0)
  })

  it("removes the subject from a dead letter that is a whole message, and keeps the others in it", async () => {
    const user_id = `user ${crypto.randomUUID()}`
    const context_window_id = freshConversation()
    const message = bodyOf(
      delivery([
        { context_window_id, user_id },
        { context_window_id, raw_content: "kept" },
      ]),
    )
    await keepMessage(message)
    const id = await begin({ kind: "user_id", subject: user_id })
    await continued(id)
    expect(await stateOf(id)).toBe("done")
    const left = await messageAbout(context_window_id)
    expect(left).not.toContain(user_id)
    await consume([left])
    expect(await countOf(context_window_id)).toBe(1)
  })
})
