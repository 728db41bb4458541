import { describe, expect, it } from "vitest"
import { StorageRecord } from "../../../../src/signals/responses.ts"
import { storageFigures } from "../../../../src/store/lifecycle/storage.ts"
import { freshConversation, postBatch, query, send } from "../../service.ts"
import { database } from "../batches/batch-of.ts"

const figures = async () => StorageRecord.parse(await (await send("/api/storage")).json())

describe("GET /api/storage", () => {
  it("has the sizes, the partitions and the oldest signal", async () => {
    await postBatch({ signals: [{ context_window_id: freshConversation() }] })
    const { bytes, partitions, partition_count, oldest_signal, retention_days, ledger_retention_days } =
      await figures()
    for (const size of Object.values(bytes)) expect(size).toBeGreaterThan(0)
    expect(partitions).toHaveLength(partition_count)
    expect(partitions.map(({ to_id }) => to_id)).toEqual(
      partitions.map(({ to_id }) => to_id).sort((a, b) => a - b),
    )
    const [oldest] = await query<{ at: Date }>("select received_at as at from signals order by id limit 1")
    expect(Date.parse(oldest_signal ?? "")).toBe(new Date(oldest?.at ?? 0).getTime())
    expect([retention_days, ledger_retention_days]).toEqual([null, 90])
  })

  it("has the approximate number of signals", async () => {
    const before = (await figures()).signal_count
    await postBatch({
      signals: Array.from({ length: 40 }, () => ({ context_window_id: freshConversation() })),
    })
    // Postgres writes the statistics of a connection at most once a second.
    await expect
      .poll(async () => (await figures()).signal_count, { timeout: 60_000 })
      .toBeGreaterThanOrEqual(before + 40)
  })

  it("names no next drop while the oldest partition is still filled", async () => {
    expect((await storageFigures(database(), { signalDays: 30, ledgerDays: 90 })).next_drop).toBeNull()
  })
})
