import { uuidv7 } from "uuidv7"
import { describe, expect, it } from "vitest"
import type { ErasureRecord } from "../../../../src/signals/erasure.ts"
import type { BatchAnswer } from "../../../../src/signals/responses.ts"
import { countOf, freshConversation, postBatch, postJson, query, send } from "../../service.ts"

const erase = (body: object, headers: Record<string, string> = {}) => postJson("/api/erasures", body, headers)

/** Asks for an erasure, and waits until it is done. */
async function erased(body: object): Promise<ErasureRecord> {
  const response = await erase(body)
  expect(response.status).toBe(202)
  const { id } = await response.json<ErasureRecord>()
  expect(response.headers.get("Location")).toBe(`/api/erasures/${id}`)
  let record: ErasureRecord | undefined
  await expect
    .poll(async () => {
      record = await (await send(`/api/erasures/${id}`)).json<ErasureRecord>()
      return record.state
    })
    .toBe("done")
  if (!record) throw new Error("there is no record")
  return record
}

async function store(...signals: object[]): Promise<number[]> {
  const answer = await (await postBatch({ signals })).json<BatchAnswer>()
  return answer.results.map(({ signal_id }) => signal_id ?? 0)
}

const someone = () => `user ${crypto.randomUUID()}`

describe("an erasure", () => {
  it.each(["user_id", "agent_id", "context_window_id"])(
    "by %s removes every signal of it, and no other",
    async (field) => {
      const [subject, conversation] = [someone(), freshConversation()]
      const mine = { context_window_id: conversation, [field]: subject }
      await store(mine, { context_window_id: conversation, [field]: `${subject} junior` }, mine)
      const record = await erased({ [field]: subject })
      expect(record).toMatchObject({
        kind: field,
        suppress: false,
        requested_by: "anonymous",
        erased: { signals: 2 },
      })
      expect(
        await query(`select ${field} as subject from signals where ${field} like $1`, [`${subject}%`]),
      ).toEqual([{ subject: `${subject} junior` }])
    },
  )

  it("an erasure by ids removes these signals, even when some do not exist, and the dead letter that one of them came from", async () => {
    const conversation = freshConversation()
    const [first = 0, , third = 0] = await store(
      ...Array.from({ length: 3 }, () => ({ context_window_id: conversation })),
    )
    await query(
      `insert into dead_letters (transaction_id, index, source, caller, reason, code, record, replay_transaction_id, state)
       select gen_random_uuid(), 0, 'signal', 'tests', '', 'out_of_range', '{}', transaction_id, 'replayed' from signals where id = $1`,
      [first],
    )
    const record = await erased({ signal_ids: [third, first, 999_999_999_999, first] })
    expect(record.erased).toEqual({ signals: 2, dead_letters: 1, ledger_texts: 0, waiting_records: 0 })
    expect(await countOf(conversation)).toBe(1)
  })

  it("keeps a hash as proof, and not the subject", async () => {
    const subject = someone()
    const record = await erased({ user_id: subject, suppress: true })
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`user_id:${subject}`))
    expect(record.subject_hash).toBe(new Uint8Array(digest, 0, 16).toHex())
    const rows = await query(
      "select erasures::text || suppressions::text as text from erasures join suppressions on erasure_id = id",
    )
    expect(JSON.stringify(rows)).toContain(record.id)
    expect(JSON.stringify(rows)).not.toContain(subject)
    expect(new Date(record.finished_at ?? 0).getTime()).toBeGreaterThanOrEqual(
      new Date(record.created_at).getTime(),
    )
  })

  it("keeps the dedupe keys taken, so that a late retry does not store a signal again", async () => {
    const [subject, key] = [someone(), crypto.randomUUID()]
    const signal = { context_window_id: freshConversation(), user_id: subject, dedupe_key: key }
    const [id] = await store(signal)
    await erased({ user_id: subject })
    const { results } = await (await postBatch({ signals: [signal] })).json<BatchAnswer>()
    expect(results).toEqual([expect.objectContaining({ success: true, signal_id: id, duplicate: true })])
    expect(await countOf(signal.context_window_id)).toBe(0)
  })

  it("removes the dead letters whose subject it is, and the sentences of the ledger that quote it", async () => {
    const subject = `user "${crypto.randomUUID()}" é`
    const deadLetter = async (record: string, user: string) => {
      const [row] = await query<{ id: string }>(
        `insert into dead_letters (transaction_id, index, source, caller, reason, code, record, replay_transaction_id, subject_hashes)
         values ($3, 0, 'kafka', 'tests', '', 'out_of_range', $1, gen_random_uuid(), array[subject_hash('user_id', $2)])
         returning id`,
        [record, user, uuidv7()],
      )
      return row?.id ?? ""
    }
    const gone = await deadLetter(JSON.stringify({ value: { from: subject } }), subject)
    const kept = [
      await deadLetter(JSON.stringify({ user_id: `${subject}2` }), `${subject}2`),
      await deadLetter(JSON.stringify({ text: subject }), "another"),
    ]
    const ledger = crypto.randomUUID()
    const failures = [
      { index: 0, error: `refused by the database: invalid "${subject}"`, code: "refused_by_database" },
      { index: 1, error: "signal_score must be between 0 and 1", code: "out_of_range" },
      { index: 2, error: `refused by the database: ${subject}`, code: "refused_by_database" },
    ]
    await query(
      "insert into batches (transaction_id, caller, state, total_count, failed_count, failures) values ($1, 'tests', 'stored', 3, 3, $2)",
      [ledger, JSON.stringify(failures)],
    )
    const { erased: counts } = await erased({ user_id: subject })
    expect(counts).toMatchObject({ dead_letters: 1, ledger_texts: 1 })
    expect(
      await query("select id from dead_letters where id = any($1::int8[]) order by id", [[gone, ...kept]]),
    ).toEqual(kept.map((id) => ({ id })))
    expect(await query("select failures from batches where transaction_id = $1", [ledger])).toEqual([
      { failures: [{ ...failures[0], error: "Removed by an erasure." }, ...failures.slice(1)] },
    ])
  })

  it("is the same for a repeated Idempotency-Key", async () => {
    const key = { "Idempotency-Key": crypto.randomUUID() }
    const body = { user_id: someone() }
    const first = await (await erase(body, key)).json<ErasureRecord>()
    const again = await erase(body, key)
    expect([again.status, again.headers.get("Idempotency-Replayed")]).toEqual([202, "true"])
    expect((await again.json<ErasureRecord>()).id).toBe(first.id)
    const other = await erase({ user_id: someone() }, key)
    expect([other.status, await other.json()]).toMatchObject([
      422,
      { detail: [{ type: "idempotency_key_reused" }] },
    ])
  })

  it("is listed, newest first, by pages", async () => {
    const ids: string[] = []
    for (let count = 0; count < 3; count++) ids.push((await erased({ signal_ids: [1] })).id)
    const page = await (await send("/api/erasures?limit=2")).json<{
      erasures: ErasureRecord[]
      next_cursor: string
    }>()
    expect(page.erasures.map(({ id }) => id)).toEqual([ids[2], ids[1]])
    const next = await (await send(`/api/erasures?limit=1&cursor=${page.next_cursor}`)).json<{
      erasures: ErasureRecord[]
    }>()
    expect(next.erasures.map(({ id }) => id)).toEqual([ids[0]])
  })

  it.each([
    {},
    { user_id: "a", agent_id: "b" },
    { user_id: "a", signal_ids: [1] },
    { user_id: "" },
    { user_id: "a".repeat(1025) },
    { user_id: "a\u0000" },
    { user_id: 7 },
    { signal_ids: [] },
    { signal_ids: Array.from({ length: 1001 }, (_, id) => id + 1) },
    { signal_ids: [0] },
    { user_id: "a", suppress: "yes" },
    { user_id: "a", until: "2026-01-01" },
    [],
  ])("is refused as %j", async (body) => {
    expect((await erase(body)).status).toBe(422)
  })

  it("an erasure that does not exist is not found", async () => {
    expect((await send(`/api/erasures/${crypto.randomUUID()}`)).status).toBe(404)
    expect((await send("/api/erasures/latest")).status).toBe(422)
  })
})

describe("after an erasure with suppression", () => {
  it("the subject's signals are refused by batch, all or nothing and one by one", async () => {
    const [subject, context_window_id] = [someone(), freshConversation()]
    const signal = { context_window_id, user_id: subject }
    await erased({ user_id: subject, suppress: true })
    const failure = { code: "suppressed", field: "user_id", retryable: false }
    const batch = await postBatch({ signals: [signal, { context_window_id }] })
    expect((await batch.json<BatchAnswer>()).results).toMatchObject([
      { success: false, ...failure },
      { success: true },
    ])
    const whole = await postBatch({ signals: [{ context_window_id }, signal], fail_on_error: true })
    expect([whole.status, await whole.json()]).toMatchObject([400, { errors: [{ index: 1, ...failure }] }])
    const single = await postJson("/api/signals", signal)
    expect([single.status, await single.json()]).toMatchObject([
      422,
      { detail: [{ loc: ["body", "user_id"] }] },
    ])
    expect(await countOf(context_window_id)).toBe(1)
  })
})
