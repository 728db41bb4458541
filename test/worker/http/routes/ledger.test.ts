import { describe, expect, it } from "vitest"
import type { BatchAnswer, BatchRecord } from "../../../../src/signals/responses.ts"
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
    const plan = await query("explain select * from batches where transaction_id < $1 order by transaction_id desc limit 21", [
      crypto.randomUUID(),
    ])
    expect(JSON.stringify(plan)).toContain("Index Scan Backward using batches_pkey")
  })

  it.each(["cursor=x", "limit=0", "limit=1001"])("refuse ?%s", async (text) => {
    expect((await send(`/api/batches?${text}`)).status).toBe(422)
  })
})
