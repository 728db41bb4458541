import { describe, expect, it } from "vitest"
import { writeBatch } from "../../../../src/store/batches/write.ts"
import { releaseExpiredKeys } from "../../../../src/store/ledger/keys.ts"
import { countOf, freshConversation, query } from "../../service.ts"
import { batchOf, database } from "../batches/batch-of.ts"

/**
 * Ledger rows of a caller of their own whose keys have expired: `key-1`, `key-2` and so on. Their ids are
 * old, too, so that they stand on the last pages of the ledger that other tests read.
 */
async function expiredKeys(count: number): Promise<string> {
  const caller = `caller-${crypto.randomUUID()}`
  await query(
    `insert into batches (transaction_id, created_at, caller, state, total_count, failed_count, failures, idempotency_key, request_hash)
     select overlay(gen_random_uuid()::text placing '00000000' from 1)::uuid, now() - interval '8 days' - n * interval '1 ms', $1, 'stored', 0, 0, '[]', 'key-' || n, 'best-effort:00'
     from generate_series(1, $2::int4) as n`,
    [caller, count],
  )
  return caller
}

const keysLeft = async (caller: string) =>
  Number(
    (
      await query<{ count: string }>("select count(idempotency_key) from batches where caller = $1", [caller])
    )[0]?.count,
  )

describe("idempotency keys past their lifetime", () => {
  it("are released one by one by a request that uses one, which changes only its own row", async () => {
    const context_window_id = freshConversation()
    const caller = await expiredKeys(3)
    const batch = batchOf([{ context_window_id }], {
      caller,
      idempotency: { key: "key-2", requestHash: "best-effort:01" },
    })
    expect(await writeBatch(database(), batch)).toMatchObject({
      replayed: false,
      transactionId: batch.transactionId,
    })
    expect(await countOf(context_window_id)).toBe(1)
    expect(
      await query(
        "select idempotency_key, created_at < now() - interval '7 days' as old from batches where caller = $1 order by 1",
        [caller],
      ),
    ).toEqual([
      { idempotency_key: "key-1", old: true },
      { idempotency_key: "key-2", old: false },
      { idempotency_key: "key-3", old: true },
      { idempotency_key: null, old: true },
    ])
  })

  it("are all released by the cron, at most 5,000 in a statement", async () => {
    const caller = await expiredKeys(12_000)
    const db = database()
    expect(await releaseExpiredKeys(db)).toBeGreaterThanOrEqual(12_000)
    expect(db.usage.attempts).toBeGreaterThanOrEqual(3)
    expect(await keysLeft(caller)).toBe(0)
  })

  it("stay released up to the point where the cron ran out of time", async () => {
    const caller = await expiredKeys(12_000)
    const db = database()
    // The deadline passes with the first statement.
    const { query: ask } = db
    let deadlineAt = db.deadlineAt
    const short = {
      ...db,
      get deadlineAt() {
        return deadlineAt
      },
      query: <Row>(statement: Parameters<typeof ask>[0]) =>
        ask<Row>(statement).finally(() => (deadlineAt = 0)),
    }
    expect(await releaseExpiredKeys(short)).toBe(5000)
    expect(await keysLeft(caller)).toBe(7000)
    await releaseExpiredKeys(database())
  })

  it("stay when they are younger", async () => {
    const caller = `caller-${crypto.randomUUID()}`
    const idempotency = { key: "young", requestHash: "best-effort:00" }
    await writeBatch(
      database(),
      batchOf([{ context_window_id: freshConversation() }], { caller, idempotency }),
    )
    await releaseExpiredKeys(database())
    expect(await keysLeft(caller)).toBe(1)
  })
})
