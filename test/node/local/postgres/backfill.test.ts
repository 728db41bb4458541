import { Client } from "pg"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { migrate } from "../../../../src/local/postgres/migrate.ts"
import { type LocalPostgres, startTemporaryPostgres } from "../../../../src/local/postgres/postgres.ts"
import { migrateUntil } from "../../store/former-database.ts"
import { writeAsFormerVersion } from "../../store/statements.ts"

let postgres: LocalPostgres

beforeAll(async () => {
  postgres = await startTemporaryPostgres()
})
afterAll(() => postgres?.stop())

const ask = async <Row>(text: string): Promise<Row[]> => {
  const client = new Client({ connectionString: postgres.url })
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

const ROWS = 55_000

describe("the dedupe_keys of stored signals", () => {
  it("are all copied by db:migrate, which continues where it was stopped, while the former version writes", async () => {
    await migrateUntil(postgres.url, "_dedupe_keys")
    const writer = new Client({ connectionString: postgres.url })
    await writer.connect()
    await writer.query(
      `insert into signals (transaction_id, time, context_window_id, signal_source, signal_score, escalate_flag, dedupe_key)
      select gen_random_uuid(), now(), 'c', 's', 0.5, 0, case when n % 3 > 0 then 'key ' || n end from generate_series(1, $1::int4) as n`,
      [ROWS],
    )
    // Its connection is lost after the first steps.
    const first = migrate(postgres.url).catch((error: Error) => error)
    await expect
      .poll(
        async () =>
          (await ask<{ id: string }>("select last_id as id from backfills").catch(() => []))[0]?.id ?? "0",
        {
          interval: 1,
        },
      )
      .not.toBe("0")
    await ask("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'")
    expect(await first).toBeInstanceOf(Error)
    const [progress] = await ask<{ last_id: number; finished_at: string | null }>(
      "select last_id::int4 as last_id, finished_at from backfills",
    )
    expect(progress?.finished_at).toBeNull()
    expect(progress?.last_id).toBeLessThan(ROWS)

    // Keys that are entered, keys that are not yet, and new ones; none of the stored ones may be stored
    // again.
    const keys = [1, 2, 54_998, 54_999, 60_000].map((number) => `key ${number}`)
    expect(await writeAsFormerVersion(writer, keys)).toEqual([
      "",
      "",
      "",
      expect.stringMatching(/^\d+$/),
      expect.any(String),
    ])
    expect(await migrate(postgres.url)).toEqual([])
    expect(
      await ask(
        `select count(*)::int4 as signals, count(dedupe_key)::int4 as keyed,
          count(*) filter (where dedupe_key is not null and signal_id is distinct from id)::int4 as wrong,
          (select count(*)::int4 from dedupe_keys) as keys
        from signals left join dedupe_keys on key_hash = dedupe_key_hash(dedupe_key)`,
      ),
    ).toEqual([{ signals: ROWS + 2, keyed: 36_669, wrong: 0, keys: 36_669 }])
    expect(await ask("select finished_at is not null as finished from backfills")).toEqual([
      { finished: true },
    ])
    await writer.end()
  })
})
