import { describe, expect, it } from "vitest"
import type { BatchAnswer, BatchRecord } from "../../../../src/signals/responses.ts"
import { MAX_TRIED } from "../../../../src/store/ledger/read.ts"
import { freshConversation, postBatch, query, send } from "../../service.ts"

const page = async (path: string) => {
  const response = await send(path)
  expect(response.status).toBe(200)
  return response.json<{ batches: BatchRecord[]; next_cursor: string | null }>()
}

const store = async (failures = 0) => {
  const bad = Array.from({ length: failures }, () => ({ context_window_id: "a", signal_score: 2 }))
  const response = await postBatch({ signals: [{ context_window_id: freshConversation() }, ...bad] })
  return (await response.json<BatchAnswer>()).transaction_id
}

describe("the ledger's pages", () => {
  it("list every batch once, newest first, whatever the size of a page", async () => {
    const sent = [await store(), await store(1), await store(2)]
    const found: string[] = []
    let cursor: string | null = ""
    do {
      const { batches, next_cursor } = await page(`/api/batches?limit=20${cursor && `&cursor=${cursor}`}`)
      found.push(...batches.map(({ transaction_id }) => transaction_id))
      cursor = next_cursor
    } while (cursor !== null)
    expect(found.filter((id) => sent.includes(id))).toEqual(sent.toReversed())
    expect(found).toEqual([...new Set(found)].sort().toReversed())
  })

  it("list each batch as its own record does, with the first 20 failures only", async () => {
    const id = await store(25)
    const { batches } = await page("/api/batches?limit=1000")
    const listed = batches.find(({ transaction_id }) => transaction_id === id)
    const record = await (await send(`/api/batches/${id}`)).json<BatchRecord>()
    expect(record.failures).toHaveLength(25)
    expect(listed).toEqual({ ...record, failures: record.failures.slice(0, 20) })
  })

  it("are read from the end of the primary key", async () => {
    const plan = await query(
      "explain select * from batches where transaction_id < $1 order by transaction_id desc limit 21",
      [crypto.randomUUID()],
    )
    expect(JSON.stringify(plan)).toContain("Index Scan Backward using batches_pkey")
  })

  it("list those with failures, and those with a failure of a code, page by page", async () => {
    const blank = async () =>
      (await (await postBatch({ signals: [{ context_window_id: " " }] })).json<BatchAnswer>()).transaction_id
    const sent = [await store(1), await blank(), await store(), await store(2), await blank()]
    const listed = async (filter: string) => {
      const found: string[] = []
      let cursor: string | null = ""
      do {
        const { batches, next_cursor } = await page(
          `/api/batches?${filter}&limit=2${cursor && `&cursor=${cursor}`}`,
        )
        found.push(...batches.map(({ transaction_id }) => transaction_id))
        cursor = next_cursor
      } while (cursor !== null && !found.includes(sent[0] ?? ""))
      return found.filter((id) => sent.includes(id))
    }
    expect(await listed("failed=true")).toEqual([sent[4], sent[3], sent[1], sent[0]])
    expect(await listed("failure_code=out_of_range")).toEqual([sent[3], sent[0]])
    expect(await listed("failed=1&failure_code=blank")).toEqual([sent[4], sent[1]])
    for (const yes of ["True", "TRUE", "t", "Yes", "y", "on"])
      expect([yes, await listed(`failed=${yes}&failure_code=blank`)]).toEqual([yes, [sent[4], sent[1]]])
    for (const no of ["False", "FALSE", "f", "No", "n", "off", "0"])
      expect([no, await listed(`failed=${no}&failure_code=blank`)]).toEqual([no, [sent[4], sent[1]]])
    expect((await page("/api/batches?failure_code=no_such_code&limit=2")).batches).toEqual([])
  })

  it("end after a bounded number of tested batches, and continue", async () => {
    // Older than all others, so that nobody else's page has them.
    const id = (index: number) => `00000000-0000-7000-8000-${String(index).padStart(12, "0")}`
    await query(
      `insert into batches (transaction_id, caller, state, total_count, failed_count, failures)
       select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'test', 'stored', 1, (n = 1)::int4,
         case when n = 1 then '[{"index": 0, "error": "x", "code": "blank"}]'::jsonb else '[]'::jsonb end
       from generate_series(1, ${MAX_TRIED + 1}) as n`,
    )
    const first = await page(`/api/batches?failure_code=blank&cursor=${id(MAX_TRIED + 2)}`)
    expect(first).toEqual({ batches: [], next_cursor: id(2) })
    const second = await page(`/api/batches?failure_code=blank&cursor=${first.next_cursor}`)
    expect([second.batches.map(({ transaction_id }) => transaction_id), second.next_cursor]).toEqual([
      [id(1)],
      null,
    ])
    await query("delete from batches where transaction_id < '00000001-0000-7000-8000-000000000000'")
  })

  it.each([
    "cursor=x",
    "limit=0",
    "limit=1001",
    "failed=perhaps",
    "failed=",
    "failed=2",
    "failed=truee",
    `failure_code=${"x".repeat(65)}`,
  ])("refuse ?%s", async (text) => {
    expect((await send(`/api/batches?${text}`)).status).toBe(422)
  })
})
