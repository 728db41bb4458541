import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import type { SpoiledAnswer } from "../../../src/local/neon/endpoint.ts"
import { misstored, type Rig, sendBatch, startRig } from "../../setup/rig.ts"

let rig: Rig

beforeAll(async () => {
  rig = await startRig()
})
afterAll(() => rig?.stop())
beforeEach(async () => {
  await rig.query("truncate signals, batches, dedupe_keys")
})

const NOTHING_WRONG = { lostOrDoubled: [], torn: [] }

describe("an answer lost between database and service", () => {
  it("never stores a batch twice, and still gives the sender its ids", async () => {
    const acknowledged: string[] = []
    for (let turn = 0; turn < 25; turn++) {
      rig.endpoint.faults.loseAnswers = 1 + (turn % 3)
      const { status, conversation, body } = await sendBatch(rig)
      expect([status, body.successful_count]).toEqual([200, 20])
      acknowledged.push(conversation)
    }
    expect(await misstored(rig, acknowledged)).toEqual(NOTHING_WRONG)
  })

  it("never stores one of many concurrent batches twice", async () => {
    rig.endpoint.faults.loseAnswers = 30
    const sent = await Promise.all(Array.from({ length: 40 }, () => sendBatch(rig)))
    expect(new Set(sent.map(({ status }) => status))).toEqual(new Set([200]))
    expect(
      await misstored(
        rig,
        sent.map(({ conversation }) => conversation),
      ),
    ).toEqual(NOTHING_WRONG)
  })
})

describe.each<{ how: string; spoiled: SpoiledAnswer }>([
  { how: "cut in its middle", spoiled: "cut" },
  { how: "replaced by a page with status 200", spoiled: { status: 200, page: "<html>hello</html>" } },
  { how: "replaced by a page with status 400", spoiled: { status: 400, page: "<html>bad gateway</html>" } },
  { how: "replaced by JSON that is not Neon's", spoiled: { status: 200, page: "{}" } },
])("an answer that is $how", ({ spoiled }) => {
  it("never stores a batch twice, and still gives the sender its ids", async () => {
    rig.endpoint.faults.spoil = [spoiled, spoiled, spoiled]
    const { status, conversation, body } = await sendBatch(rig)
    expect([status, body.successful_count, rig.endpoint.faults.spoil]).toEqual([200, 20, []])
    expect(await misstored(rig, [conversation])).toEqual(NOTHING_WRONG)
  })

  it("is retried by a read", async () => {
    rig.endpoint.faults.spoil = [spoiled]
    const response = await fetch(`${rig.service.address}/api/signals`)
    expect([response.status, await response.json(), rig.endpoint.faults.spoil]).toEqual([
      200,
      { signals: [], next_cursor: null },
      [],
    ])
  })
})

describe("an answer that stalls in its middle until the deadline", () => {
  it("leaves the batch in doubt, and the ledger has it", async () => {
    rig.endpoint.faults.spoil = ["stall"]
    const { status, headers, body, conversation } = await sendBatch(rig)
    expect([status, headers.get("Retry-After")]).toEqual([503, "2"])
    const record = await fetch(`${rig.service.address}/api/batches/${body.transaction_id}`)
    expect([record.status, await record.json()]).toMatchObject([
      200,
      { state: "stored", successful_count: 20 },
    ])
    expect(await misstored(rig, [conversation])).toEqual(NOTHING_WRONG)
  })
})

describe("a result that is larger than Neon sends", () => {
  it("is requested once, and answered with the steps to take", async () => {
    const tooLarge = { status: 507, message: "response is too large (max is 67108864 bytes)" }
    rig.endpoint.faults.failures.push(tooLarge, tooLarge)
    const response = await fetch(`${rig.service.address}/api/signals`)
    expect([response.status, rig.endpoint.faults.failures.splice(0)]).toEqual([422, [tooLarge]])
    const narrow = { type: "read_too_costly", loc: ["query"], msg: expect.stringContaining("Narrow it by: ") }
    expect(await response.json()).toEqual({ detail: [narrow], code: "read_too_costly" })
  })
})

describe("transient errors of the database", () => {
  it.each([
    { status: 400, code: "40001", message: "could not serialize access" },
    { status: 400, code: "40P01", message: "deadlock detected" },
    { status: 400, code: "53300", message: "sorry, too many clients already" },
    { status: 400, code: "57P01", message: "terminating connection due to administrator command" },
    { status: 400, code: "", message: "connection closed" },
    { status: 500, code: "", message: "Couldn't connect to compute node" },
    { status: 502, code: "", message: "Bad gateway" },
  ])("are retried: $status $code $message", async (failure) => {
    rig.endpoint.faults.failures.push(failure, failure)
    const { status, conversation } = await sendBatch(rig)
    expect(status).toBe(200)
    expect(await misstored(rig, [conversation])).toEqual(NOTHING_WRONG)
  })

  it.each([
    { status: 400, code: "42P01", message: 'relation "batches" does not exist' },
    { status: 400, code: "42501", message: "permission denied" },
    { status: 400, code: "", message: "password authentication failed for user 'neondb_owner'" },
    { status: 500, code: "", message: "Control plane request failed: endpoint cannot be found" },
  ])(
    "that no retry can cure are answered at once, and reveal nothing about the database: $message",
    async (failure) => {
      rig.endpoint.faults.failures.push(failure)
      const { status, headers, body } = await sendBatch(rig)
      expect([status, headers.get("Retry-After")]).toEqual([503, "2"])
      expect(body).toEqual({
        detail: "The database is not ready for this service. Nothing was stored.",
        code: "database_not_ready",
      })
      expect(rig.endpoint.faults.failures).toEqual([])
    },
  )
})

describe("a database that is away for 5 seconds", () => {
  it("delays every sender, and fails none", async () => {
    await rig.endpoint.faults.refuse()
    const senders = Array.from({ length: 20 }, () => sendBatch(rig))
    // The outage itself is what is tested here, so its length is waited for.
    await new Promise((resolve) => setTimeout(resolve, 5000))
    await rig.endpoint.faults.accept()
    const sent = await Promise.all(senders)
    expect(new Set(sent.map(({ status }) => status))).toEqual(new Set([200]))
    expect(
      await misstored(
        rig,
        sent.map(({ conversation }) => conversation),
      ),
    ).toEqual(NOTHING_WRONG)
  })
})

describe("Postgres killed in the midst of a load", () => {
  it("loses, duplicates and splits no acknowledged batch, and the service continues when Postgres is back", async () => {
    const acknowledged: string[] = []
    const enough = Promise.withResolvers<void>()
    let done = false
    const sender = async () => {
      while (!done) {
        const headers = { "Idempotency-Key": crypto.randomUUID() }
        const conversation = crypto.randomUUID()
        // A sender that keeps its promise to itself: the same batch under the same key until it is
        // acknowledged.
        while ((await sendBatch(rig, headers, conversation)).status !== 200);
        acknowledged.push(conversation)
        if (acknowledged.length === 60) enough.resolve()
      }
    }
    const senders = Array.from({ length: 8 }, sender)
    await enough.promise
    await rig.postgres.kill()
    const before = acknowledged.length
    await rig.postgres.restart()
    await expect.poll(() => acknowledged.length).toBeGreaterThan(before + 60)
    done = true
    await Promise.all(senders)
    expect(await misstored(rig, acknowledged)).toEqual(NOTHING_WRONG)
  })
})
