import { uuidv7 } from "uuidv7"
import { describe, expect, it } from "vitest"
import { app } from "../../../../src/app.ts"
import type { Bindings } from "../../../../src/bindings.ts"
import type { DataPoint } from "../../../../src/metrics/points.ts"
import type { DeadLetterSource } from "../../../../src/signals/sources.ts"
import { connect } from "../../../../src/store/database/connection.ts"
import { insertDeadLetters } from "../../../../src/store/dead-letters/store.ts"
import { bodyOf, consume, DEAD_LETTERS, delivery } from "../../consumer/messages.ts"
import { bindings, countOf, freshConversation, query, send, TOO_LONG_FOR_POSTGRES } from "../../service.ts"

interface ShownDeadLetter {
  id: number
  transaction_id: string
  state: string
  reason: string
  code: string
  field?: string
  retryable: boolean
  record: string
  truncated: boolean
  replay_transaction_id: string
}

const kept = async (fields: { source: string; record: unknown; reason?: string }): Promise<number> => {
  const [row] = await query<{ id: string }>(
    `insert into dead_letters (transaction_id, index, source, caller, reason, code, record, replay_transaction_id)
     values ($1, 0, $2, 'bridge', $3, 'unreadable_record', $4, $5) returning id`,
    [uuidv7(), fields.source, fields.reason ?? "why", JSON.stringify(fields.record), uuidv7()],
  )
  return Number(row?.id)
}

const read = async <Answer>(path: string, init?: RequestInit) =>
  (await (await send(path, init)).json()) as Answer
const deadLetter = (id: number) => read<ShownDeadLetter>(`/api/dead-letters/${id}`)
const replay = (id: number) =>
  read<{ replayed: boolean; reason?: string; transaction_id?: string }>(`/api/dead-letters/${id}/replay`, {
    method: "POST",
  })

describe("the dead letters", () => {
  it("are listed newest first, page by page, while they wait", async () => {
    const ids: number[] = []
    for (let number = 0; number < 5; number++)
      ids.unshift(await kept({ source: "kafka", record: { value: number } }))
    const found: number[] = []
    let cursor: string | null = null
    do {
      const query = new URLSearchParams({ limit: "2", ...(cursor !== null && { cursor }) })
      const page: { dead_letters: ShownDeadLetter[]; next_cursor: string | null } = await read(
        `/api/dead-letters?${query}`,
      )
      found.push(...page.dead_letters.map(({ id }) => id))
      cursor = page.next_cursor
    } while (cursor !== null)
    expect(found.filter((id) => ids.includes(id))).toEqual(ids)
    expect(new Set(found).size).toBe(found.length)
  })

  it("are listed by their batch, in every state", async () => {
    const id = await kept({ source: "kafka", record: { value: "of a batch" } })
    const { transaction_id } = await read<{ transaction_id: string }>(`/api/dead-letters/${id}`)
    await read(`/api/dead-letters/${id}`, { method: "DELETE" })
    const listed = async (more = "") => {
      const page = await read<{ dead_letters: ShownDeadLetter[] }>(
        `/api/dead-letters?transaction_id=${transaction_id}${more}`,
      )
      return page.dead_letters.map((deadLetter) => deadLetter.id)
    }
    expect([await listed(), await listed("&state=discarded"), await listed("&state=waiting")]).toEqual([
      [id],
      [id],
      [],
    ])
  })

  it("are listed without their records, which each has by its id", async () => {
    const id = await kept({ source: "kafka", record: { value: "x" } })
    const { record, ...listed } = await deadLetter(id)
    // Other tests keep dead letters meanwhile, so the newest one can be theirs.
    const { dead_letters } = await read<{ dead_letters: ShownDeadLetter[] }>(
      `/api/dead-letters?transaction_id=${listed.transaction_id}`,
    )
    expect(dead_letters).toEqual([listed])
    expect(record).toBe('{"value":"x"}')
  })

  it("end a page by bytes", async () => {
    const ids: number[] = []
    for (let number = 0; number < 12; number++)
      ids.unshift(await kept({ source: "signal", record: {}, reason: "x".repeat(900 * 1024) }))
    // Other tests keep small dead letters meanwhile.
    const own = (deadLetters: readonly ShownDeadLetter[]) =>
      deadLetters.map(({ id }) => id).filter((id) => ids.includes(id))
    const first = await read<{ dead_letters: ShownDeadLetter[]; next_cursor: string }>(
      "/api/dead-letters?limit=1000",
    )
    expect(own(first.dead_letters)).toEqual(ids.slice(0, 10))
    const second = await read<{ dead_letters: ShownDeadLetter[] }>(
      `/api/dead-letters?limit=1000&cursor=${first.next_cursor}`,
    )
    expect(own(second.dead_letters)).toEqual(ids.slice(10))
    await query("delete from dead_letters where id = any($1)", [ids])
  })

  it("have the record, and the reason why it could not be stored", async () => {
    const id = await kept({
      source: "kafka",
      record: { value: { text: "x" } },
      reason: "the record has no conversation",
    })
    expect(await deadLetter(id)).toMatchObject({
      id,
      state: "waiting",
      reason: "the record has no conversation",
      record: '{"value":{"text":"x"}}',
    })
  })

  it("have the code, the field and whether a retry helps", async () => {
    const transactionId = uuidv7()
    const fresh = { transactionId, source: "kafka" as const, caller: "bridge", record: "{}" }
    const ahead = { index: 1, reason: "too far ahead", code: "too_far_ahead" as const, field: "timestamp" }
    await insertDeadLetters(
      connect({
        url: bindings.DATABASE_URL ?? "",
        httpEndpoint: bindings.DATABASE_HTTP_ENDPOINT,
        deadlineMs: 10_000,
      }),
      [
        { ...fresh, index: 0, reason: "no key", code: "unreadable_record" },
        { ...fresh, ...ahead },
      ],
    )
    const { dead_letters } = await read<{ dead_letters: ShownDeadLetter[] }>(
      `/api/dead-letters?transaction_id=${transactionId}`,
    )
    const [second, first] = dead_letters
    expect(first).toMatchObject({ code: "unreadable_record", retryable: false })
    expect(first).not.toHaveProperty("field")
    expect(second).toMatchObject({ code: "too_far_ahead", field: "timestamp", retryable: true })
    expect(await deadLetter(second?.id ?? 0)).toMatchObject({
      code: "too_far_ahead",
      field: "timestamp",
      retryable: true,
    })
  })

  it("keep the code of a newer version", async () => {
    const id = await kept({ source: "kafka", record: {} })
    await query("update dead_letters set code = 'of_a_newer_version', field = 'x' where id = $1", [id])
    expect(await deadLetter(id)).toMatchObject({ code: "of_a_newer_version", field: "x", retryable: false })
  })

  it("are 404 for an unknown id, and 422 for text that is not an id", async () => {
    expect((await send("/api/dead-letters/999999999")).status).toBe(404)
    expect((await send("/api/dead-letters/999999999/replay", { method: "POST" })).status).toBe(404)
    expect((await send("/api/dead-letters/x")).status).toBe(422)
  })

  it("can only be changed with both scopes", async () => {
    const id = await kept({ source: "kafka", record: {} })
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode("read-key"))
    const API_KEYS = JSON.stringify([
      { name: "reader", sha256: new Uint8Array(digest).toHex(), scopes: ["read"] },
    ])
    const environment: Bindings = { ...bindings, OPEN_ACCESS: "false", API_KEYS }
    const ask = (path: string, method: string) =>
      app.request(
        `/api/dead-letters/${path}`,
        { method, headers: { Authorization: "Bearer read-key" } },
        environment,
      )
    expect((await ask(`${id}`, "GET")).status).toBe(200)
    expect((await ask(`${id}/replay`, "POST")).status).toBe(403)
    expect((await ask(`${id}`, "DELETE")).status).toBe(403)
  })
})

describe("a dead letter that is replayed", () => {
  it("is stored after its cause is repaired, and only once however often it is replayed", async () => {
    const conversation = freshConversation()
    const id = await kept({
      source: "kafka",
      record: { value: { context_window_id: conversation, raw_content: "Hello" } },
    })
    // Two at once, since a third would wait for another request, which the test runner's workerd cannot do.
    const answers = [...(await Promise.all([replay(id), replay(id)])), await replay(id)]
    const { replay_transaction_id, state } = await deadLetter(id)
    expect(state).toBe("replayed")
    expect(answers).toEqual([1, 2, 3].map(() => ({ replayed: true, transaction_id: replay_transaction_id })))
    expect(await countOf(conversation)).toBe(1)
    expect(await read(`/api/batches/${replay_transaction_id}`)).toMatchObject({
      state: "stored",
      caller: "bridge",
    })
  })

  it("counts as stored the first time, and never as failed", async () => {
    const id = await kept({ source: "signal", record: { context_window_id: freshConversation() } })
    const bad = await kept({ source: "signal", record: { context_window_id: " " } })
    const points: DataPoint[] = []
    const METRICS = { writeDataPoint: (point: DataPoint) => void points.push(point) }
    for (const one of [id, id, bad])
      await app.request(`/api/dead-letters/${one}/replay`, { method: "POST" }, { ...bindings, METRICS })
    const counts = points.map(({ doubles }) => doubles.slice(0, 3))
    expect(counts).toEqual([
      [1, 1, 0],
      [0, 0, 0],
      [0, 0, 0],
    ])
  })

  it("is mapped by the current setting", async () => {
    const conversation = freshConversation()
    const id = await kept({ source: "kafka", record: { value: { room: conversation } } })
    expect(await replay(id)).toEqual({
      replayed: false,
      reason: "the record has no conversation: $key or $subject must be text or a number",
    })
    expect((await deadLetter(id)).state).toBe("waiting")
    const mapped = await app.request(
      `/api/dead-letters/${id}/replay`,
      { method: "POST" },
      { ...bindings, KAFKA_FIELD_MAPPING: '{"conversation": "room"}' },
    )
    expect(await mapped.json()).toMatchObject({ replayed: true })
    expect(await countOf(conversation)).toBe(1)
  })

  it("is read as Slack's event when it is one", async () => {
    const channel = `C${crypto.randomUUID().replaceAll("-", "").toUpperCase()}`
    const event = { type: "message", channel, user: "U1", text: "Hello", ts: "1790000000.000100" }
    const id = await kept({ source: "slack", record: { type: "event_callback", team_id: "T1", event } })
    expect(await replay(id)).toMatchObject({ replayed: true })
    expect(await countOf(`T1/${channel}`)).toBe(1)
    const skipped = await kept({
      source: "slack",
      record: { type: "event_callback", team_id: "T1", event: { type: "reaction_added" } },
    })
    expect(await replay(skipped)).toEqual({ replayed: false, reason: "Its kind is skipped: reaction_added." })
  })

  it("stays, with the reason, when the database still refuses it", async () => {
    const conversation = freshConversation()
    const broken = delivery([
      { context_window_id: conversation, payload: { n: JSON.rawJSON(TOO_LONG_FOR_POSTGRES) } },
    ])
    await consume([bodyOf(broken)])
    const [row] = await query<{ id: string }>("select id from dead_letters where transaction_id = $1", [
      broken.batch.transactionId,
    ])
    const id = Number(row?.id)
    for (let time = 0; time < 2; time++)
      expect(await replay(id)).toMatchObject({
        replayed: false,
        reason: expect.stringContaining("refused by the database"),
      })
    // Mended by hand, it goes in.
    await query(`update dead_letters set record = replace(record, $2, '1') where id = $1`, [
      id,
      TOO_LONG_FOR_POSTGRES,
    ])
    expect(await replay(id)).toMatchObject({ replayed: true })
    expect(await countOf(conversation)).toBe(1)
  })

  it("returns to the queue when it is a whole message", async () => {
    const conversation = freshConversation()
    const body = bodyOf(delivery([{ context_window_id: conversation }]))
    await consume([body], { queue: DEAD_LETTERS })
    const [row] = await query<{ id: string }>("select id from dead_letters where record = $1", [
      JSON.stringify(body),
    ])
    expect(await replay(Number(row?.id))).toEqual({ replayed: true })
    await expect.poll(() => countOf(conversation)).toBe(1)
  })

  it("is not listed once it is discarded, and can still be replayed", async () => {
    const conversation = freshConversation()
    const id = await kept({ source: "signal", record: { context_window_id: conversation } })
    expect(await read(`/api/dead-letters/${id}`, { method: "DELETE" })).toMatchObject({
      id,
      state: "discarded",
    })
    const { dead_letters } = await read<{ dead_letters: ShownDeadLetter[] }>(
      "/api/dead-letters?state=discarded",
    )
    expect(dead_letters.map((one) => one.id)).toContain(id)
    expect(await replay(id)).toMatchObject({ replayed: true })
    expect((await deadLetter(id)).state).toBe("replayed")
  })
})

describe("a record of more than 1 MiB", () => {
  const large = async (source: DeadLetterSource, unit: string): Promise<number> => {
    const transactionId = uuidv7()
    const record = JSON.stringify({
      value: { context_window_id: freshConversation(), raw_content: unit.repeat(1_200_000) },
    })
    await insertDeadLetters(
      connect({
        url: bindings.DATABASE_URL ?? "",
        httpEndpoint: bindings.DATABASE_HTTP_ENDPOINT,
        deadlineMs: 10_000,
      }),
      [
        {
          transactionId,
          index: 0,
          source,
          caller: "bridge",
          reason: "It is too large.",
          code: "too_large",
          record,
        },
      ],
    )
    const [row] = await query<{ id: string }>("select id from dead_letters where transaction_id = $1", [
      transactionId,
    ])
    return Number(row?.id)
  }

  it.each(["x", "é", "\u{1F600}"])(
    "keeps its beginning of whole characters (%s), and its reason says so",
    async (unit) => {
      const { record, truncated, reason } = await deadLetter(await large("kafka", unit))
      const bytes = new TextEncoder().encode(record)
      expect(truncated).toBe(true)
      expect(bytes.length).toBeLessThanOrEqual(1024 * 1024 + 4096)
      expect(bytes.length).toBeGreaterThan(1024 * 1024 + 4090)
      expect(record.isWellFormed()).toBe(true)
      expect(reason).toBe(
        "It is too large. The record is larger than 1 MiB: only its beginning is kept, so that it cannot be replayed.",
      )
    },
  )

  it.each(["kafka", "queue"] as const)("is not replayed, and the answer says why (%s)", async (source) => {
    const id = await large(source, "x")
    const reason = "Only the first MiB of the record is kept. Send the record again from its source."
    expect(await replay(id)).toEqual({ replayed: false, reason })
    const bulk = await read(`/api/dead-letters/replay?ids=${id}`, { method: "POST" })
    expect(bulk).toMatchObject({ replayed_count: 0, failed_count: 1, failures: [{ id, reason }] })
    expect((await deadLetter(id)).state).toBe("waiting")
  })
})
