import { Client } from "pg"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { type NeonEndpoint, startNeonEndpoint } from "../../../../src/local/neon/endpoint.ts"
import { migrate } from "../../../../src/local/postgres/migrate.ts"
import { partitionSignals } from "../../../../src/local/postgres/partition.ts"
import { startTemporaryPostgres } from "../../../../src/local/postgres/postgres.ts"
import { createServiceLogin } from "../../../../src/local/postgres/service-login.ts"
import type { Signal } from "../../../../src/signals/schema.ts"
import { writeBatch } from "../../../../src/store/batches/write.ts"
import { connect } from "../../../../src/store/database/connection.ts"
import { type PlainStorage, startPlainStorage } from "../../store/former-database.ts"
import { batchOf } from "../../store/statements.ts"

let storage: PlainStorage
let endpoint: NeonEndpoint
let url: string

beforeEach(async () => {
  storage = await startPlainStorage()
  endpoint = await startNeonEndpoint()
  url = await createServiceLogin(storage.url)
})
afterEach(async () => {
  await endpoint?.stop()
  await storage?.stop()
})

const SIZE = 5_000

const setSize = () =>
  storage.query(
    `create or replace function signal_partition_rows() returns bigint language sql immutable parallel safe return ${SIZE}`,
  )

const database = () => connect({ url, httpEndpoint: endpoint.url, deadlineMs: 30_000 })

const FILLED = 12_000

const fill = () =>
  storage.query(
    `with signal as (
      insert into signals (transaction_id, time, context_window_id, signal_source, signal_score, escalate_flag, dedupe_key)
      select gen_random_uuid(), now() - n * interval '1 second', 'c' || n % 100, 's', 0.5, 0, case when n % 3 = 0 then 'old ' || n end
      from generate_series(1, ${FILLED}) as n
      returning id, transaction_id
    )
    insert into batches (transaction_id, caller, state, total_count, failed_count, failures, first_signal_id, last_signal_id)
    select transaction_id, 'old', 'stored', 1, 0, '[]', id, id from signal`,
  )

/** What a session of the service may do and what a reader finds, whatever the kind of the table is. */
const SURFACE = `
    select
      (select array_agg(indexname::text order by indexname) from pg_indexes where tablename = 'signals' and indexname <> 'signals_dedupe_key_idx')
        as indexes,
      (select array_agg(conname::text order by 1) from pg_constraint
        where conrelid = 'signals'::regclass and contype in ('c', 'p') and conname <> 'signals_first_partition') as constraints,
      (select json_agg(json_build_array(attname, attnotnull, attidentity, pg_get_expr(adbin, adrelid)) order by attnum)
        from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
        where attrelid = 'signals'::regclass and attnum > 0 and not attisdropped) as columns,
      (select array_agg(grantee || ' ' || privilege_type order by 1) from information_schema.table_privileges
        where table_name = 'signals' and grantee <> 'postgres') as grants,
      (select array_agg(grantee || ' ' || column_name || ' ' || privilege_type order by 1) from information_schema.column_privileges
        where table_name = 'signals' and grantee <> 'postgres') as column_grants,
      (select array_agg(grantee || ' ' || privilege_type order by 1) from information_schema.usage_privileges
        where object_name = 'signals_id_seq' and grantee <> 'postgres') as sequence_grants,
      pg_get_serial_sequence('signals', 'id') as sequence`

describe("db:partition", () => {
  it("keeps every signal, id, key and privilege, while writes of every kind, long reads and rows that the database refuses go on", async () => {
    await setSize()
    await fill()
    await storage.query("grant update (raw_content) on signals to signal_ingest_writer")
    const before = await storage.query(SURFACE)
    let stop = false
    const sent = new Map<number, Signal>()
    const waits: number[] = []
    const writers = Array.from({ length: 6 }, async (_, writer) => {
      for (let number = 0; !stop; number++) {
        const batch = batchOf(
          Array.from({ length: 10 }, (_, place) => ({
            context_window_id: `w${writer}`,
            raw_content: `${writer} ${number} ${place}`,
            ...(writer % 2 === 0 && place % 2 === 0 && { dedupe_key: `${writer} ${number} ${place}` }),
          })),
        )
        const [refused] = batch.plan.rows
        // No rule lets such a value through: only the database refuses it.
        if (writer > 3 && refused) refused.signalScore = 7
        const startedAt = Date.now()
        const { stored, failures } = await writeBatch(database(), batch)
        waits.push(Date.now() - startedAt)
        expect([stored.length, failures.length]).toEqual(writer > 3 ? [9, 1] : [10, 0])
        for (const { index, id, duplicate } of stored) {
          expect(duplicate).toBe(false)
          if (id !== null) sent.set(id, batch.plan.rows[index] as unknown as Signal)
        }
      }
    })
    const reader = new Client({ connectionString: storage.url })
    await reader.connect()
    await expect.poll(() => sent.size).toBeGreaterThan(200)
    await reader.query("begin")
    await reader.query("select count(*) from signals")
    const partitioned = partitionSignals(storage.url)
    // The lock is given up while the read goes on, so that writes go on.
    await new Promise((resolve) => setTimeout(resolve, 2_500))
    const during = sent.size
    await expect.poll(() => sent.size).toBeGreaterThan(during)
    await reader.query("commit")
    expect(await partitioned).toMatchObject({ changed: true, lockedMs: expect.any(Number) })
    const after = sent.size
    await expect.poll(() => sent.size).toBeGreaterThan(after + 400)
    stop = true
    await Promise.all(writers)
    await reader.end()

    expect(await storage.query(SURFACE)).toEqual(before)
    const [counts] = await storage.query(
      `select count(*)::int4 as signals, count(distinct id)::int4 as ids, (select count(*)::int4 from batches where caller = 'old') as ledger,
        count(*) filter (where context_window_id like 'c%')::int4 as old,
        (select count(*)::int4 from signals join dedupe_keys on key_hash = dedupe_key_hash(dedupe_key) and signal_id = id) as keys,
        (select count(*)::int4 from signals where dedupe_key is not null) as keyed, (select count(*)::int4 from dedupe_keys) as entered
      from signals`,
    )
    const keyed =
      FILLED / 3 +
      [...sent.values()].filter((row) => (row as unknown as { dedupeKey: string | null }).dedupeKey !== null)
        .length
    expect(counts).toEqual({
      signals: FILLED + sent.size,
      ids: FILLED + sent.size,
      ledger: FILLED,
      old: FILLED,
      keys: keyed,
      keyed,
      entered: keyed,
    })
    const stored = await storage.query<{ id: string; raw_content: string }>(
      "select id, raw_content from signals where context_window_id like 'w%'",
    )
    expect(
      stored.every(
        ({ id, raw_content }) =>
          (sent.get(Number(id)) as unknown as { rawContent: string }).rawContent === raw_content,
      ),
    ).toBe(true)
    expect(await partitionSignals(storage.url)).toEqual({ changed: false, lockedMs: 0 })
  })

  it("leaves nothing incomplete when it was stopped before its last step, even when the ids reach the end that it had chosen", async () => {
    await setSize()
    await fill()
    // As after the first step.
    await storage.query(
      "alter table signals add constraint signals_first_partition check (id < 15000) not valid",
    )
    const signals = Array.from({ length: 2_000 }, () => ({ context_window_id: "w" }))
    for (let number = 0; number < 2; number++) {
      const { stored, failures } = await writeBatch(database(), batchOf(signals))
      expect([stored.length, failures]).toEqual([2_000, []])
    }
    await storage.query(
      "alter table signals add constraint signals_first_partition check (id < 25000) not valid",
    )
    expect((await partitionSignals(storage.url)).changed).toBe(true)
    expect(await storage.query("select name, to_id from signal_partitions order by to_id limit 1")).toEqual([
      { name: "signals_0", to_id: "25000" },
    ])
    expect(await storage.query("select count(*)::int4 as count from signals")).toEqual([
      { count: FILLED + 4_000 },
    ])
  })

  it("starts over when the ids reach the chosen end while it waits for its last step", async () => {
    await setSize()
    await fill()
    await storage.query(
      "alter table signals add constraint signals_first_partition check (id < 15000) not valid",
    )
    const holder = new Client({ connectionString: storage.url })
    await holder.connect()
    await holder.query("begin")
    // The last step needs the sequence, too; a write does not need it alone.
    await holder.query("select nextval('signals_id_seq')")
    const partitioned = partitionSignals(storage.url)
    partitioned.catch(() => {})
    const checked = "select from pg_constraint where conname = 'signals_first_partition' and convalidated"
    await expect.poll(() => storage.query(checked)).toHaveLength(1)
    const signals = Array.from({ length: 2_000 }, () => ({ context_window_id: "w" }))
    for (let number = 0; number < 2; number++) await writeBatch(database(), batchOf(signals))
    expect(await storage.query(checked)).toEqual([])
    await holder.query("commit")
    await holder.end()
    expect((await partitioned).changed).toBe(true)
    const [first] = await storage.query<{ to_id: string }>(
      "select to_id from signal_partitions order by to_id limit 1",
    )
    expect(Number(first?.to_id)).toBeGreaterThan(FILLED + 4_000)
    expect(await storage.query("select count(*)::int4 as count from signals")).toEqual([
      { count: FILLED + 4_000 },
    ])
  })

  it("is refused while the keys of stored signals are not all copied", async () => {
    await storage.query("update backfills set finished_at = null")
    await expect(partitionSignals(storage.url)).rejects.toThrow("Run npm run db:migrate first.")
    await migrate(storage.url)
    expect((await partitionSignals(storage.url)).changed).toBe(true)
  })

  it("is done once by two at the same time", async () => {
    await fill()
    const done = await Promise.all([partitionSignals(storage.url), partitionSignals(storage.url)])
    expect(done.map(({ changed }) => changed).sort()).toEqual([false, true])
  })
})

describe("a new database", () => {
  it("has a partitioned table, like a converted database", async () => {
    await partitionSignals(storage.url)
    const postgres = await startTemporaryPostgres()
    await migrate(postgres.url)
    const client = new Client({ connectionString: postgres.url })
    await client.connect()
    try {
      expect((await client.query(SURFACE)).rows).toEqual(await storage.query(SURFACE))
      expect(
        (await client.query("select name, from_id, to_id from signal_partitions order by to_id")).rows,
      ).toEqual([
        { name: "signals_0", from_id: null, to_id: "10000000" },
        { name: "signals_10000000", from_id: "10000000", to_id: "20000000" },
      ])
    } finally {
      await client.end()
      await postgres.stop()
    }
  })
})
