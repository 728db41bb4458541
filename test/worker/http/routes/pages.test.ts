import { uuidv7 } from "uuidv7"
import { describe, expect, it } from "vitest"
import type { BatchRecord, StoredSignal } from "../../../../src/signals/responses.ts"
import type { Database } from "../../../../src/store/database/connection.ts"
import { listBatches } from "../../../../src/store/ledger/read.ts"
import { listSignals } from "../../../../src/store/signals/read.ts"
import { firstStatement } from "../../../setup/first-statement.ts"
import { freshConversation, planAvoidingSort, postBatch, query, send } from "../../service.ts"

const MIB = 1024 * 1024

interface Page {
  signals: StoredSignal[]
  batches: BatchRecord[]
  next_cursor: string | null
}

async function read(path: string): Promise<{ page: Page; bytes: number }> {
  const response = await send(path)
  const text = await response.text()
  expect([response.status, text.slice(0, 200)]).toEqual([200, text.slice(0, 200)])
  return { page: JSON.parse(text) as Page, bytes: text.length }
}

/** A payload whose few stored bytes are many as text, which no rule lets through. */
async function storeNumbers(conversation: string, number: string, times: number): Promise<number> {
  const transactionId = uuidv7()
  await query(
    `insert into batches (transaction_id, caller, state, total_count, failed_count, failures) values ($1, 'tests', 'stored', 1, 0, '[]')`,
    [transactionId],
  )
  const [row] = await query<{ id: string }>(
    `insert into signals (time, transaction_id, context_window_id, signal_source, signal_score, escalate_flag, payload)
     values (now(), $1, $2, 'test', 0.5, 0, ('{"a":[' || repeat($3 || ',', $4::int4 - 1) || $3 || ']}')::jsonb) returning id`,
    [transactionId, conversation, number, times],
  )
  return Number(row?.id)
}

describe("a page of signals", () => {
  it("ends by bytes, and its cursor continues", async () => {
    const context_window_id = freshConversation()
    for (let batch = 0; batch < 4; batch++) {
      const signals = Array.from({ length: 5 }, () => ({
        context_window_id,
        raw_content: "x".repeat(900 * 1024),
      }))
      expect((await postBatch({ signals })).status).toBe(200)
    }
    const seen: number[] = []
    const sizes: number[] = []
    let cursor: string | null = ""
    do {
      const { page, bytes } = await read(
        `/api/signals?${new URLSearchParams({ context_window_id, limit: "1000", cursor })}`.replace(
          /&cursor=$/,
          "",
        ),
      )
      seen.push(...page.signals.map(({ id }) => id))
      sizes.push(bytes)
      cursor = page.next_cursor
    } while (cursor)
    expect([seen.length, new Set(seen).size]).toEqual([20, 20])
    expect(sizes).toHaveLength(2)
    expect(Math.max(...sizes)).toBeLessThan(9.5 * MIB)
  })

  it.each([
    ["1e131071", 100],
    ["1e131071", 600],
    ["1e131071", 100_000],
    ["0e-16383", 100_000],
    ["-1e-16383", 100_000],
  ])("omits a payload of %s, %d times, and has the signals beside it", async (number, times) => {
    const context_window_id = freshConversation()
    await postBatch({ signals: [{ context_window_id, payload: { a: 0 }, timestamp: 1 }] })
    const id = await storeNumbers(context_window_id, number, times)
    const { page } = await read(`/api/signals?context_window_id=${context_window_id}`)
    expect(
      page.signals.map(({ id: one, payload, payload_omitted }) => ({ id: one, payload, payload_omitted })),
    ).toEqual([
      { id, payload: null, payload_omitted: true },
      { id: expect.any(Number), payload: { a: 0 }, payload_omitted: undefined },
    ])
    expect(page.next_cursor).toBeNull()
  })

  it("reads an index and never sorts", async () => {
    const plans = [
      await planOf((db) => listSignals(db, { limit: 10, after: { time: "2025-01-01T00:00:00Z", id: 1 } })),
      await planOf((db) => listBatches(db, { limit: 10 })),
    ]
    for (const plan of plans) {
      expect(plan).toMatch(/Index (Only )?Scan Backward/)
      expect(plan).not.toContain("Sort")
    }
  })
})

describe("a signal whose payload is too large to be listed", () => {
  it("is read by its id", async () => {
    const id = await storeNumbers(freshConversation(), "1e131071", 100)
    const { page, bytes } = await read(`/api/signals/${id}`)
    expect(page).toMatchObject({ id, payload: { a: Array(100).fill(expect.any(Number)) } })
    expect(bytes).toBeGreaterThan(12 * MIB)
  })

  it("is a 422 when its payload is too large for that too", async () => {
    const response = await send(
      `/api/signals/${await storeNumbers(freshConversation(), "1e131071", 100_000)}`,
    )
    expect([response.status, await response.json()]).toEqual([
      422,
      {
        detail: expect.stringContaining("The payload of this signal is larger than 16 MB as text"),
        code: "payload_too_large",
      },
    ])
  })
})

describe("a page of the ledger", () => {
  it("ends by bytes, and its cursor continues", async () => {
    const ids = Array.from({ length: 10 }, () => uuidv7())
    for (const id of ids)
      await query(
        `insert into batches (transaction_id, caller, state, total_count, failed_count, failures)
         select $1, 'test', 'stored', 20, 20, jsonb_agg(jsonb_build_object('index', n, 'error', repeat(md5(n::text), 3200)))
         from generate_series(0, 19) as n`,
        [id],
      )
    const seen: string[] = []
    let cursor: string | null = ""
    for (let number = 0; number < 3 && cursor !== null; number++) {
      const { page, bytes } = await read(`/api/batches?limit=1000${cursor && `&cursor=${cursor}`}`)
      seen.push(...page.batches.map(({ transaction_id }) => transaction_id))
      expect(bytes).toBeLessThan(10.5 * MIB)
      cursor = page.next_cursor
    }
    expect(seen.filter((id) => ids.includes(id))).toEqual(ids.toReversed())
    await query(`delete from batches where transaction_id = any($1)`, [ids])
  })
})

/** How Postgres carries out the first statement that `work` sends. */
async function planOf(work: (db: Database) => Promise<unknown>): Promise<string> {
  const { sql, params } = await firstStatement(work)
  return planAvoidingSort(sql, params)
}
