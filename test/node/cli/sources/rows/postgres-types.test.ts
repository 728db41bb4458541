import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type LocalPostgres, startTemporaryPostgres } from "../../../../../src/local/postgres/postgres.ts"
import { queryAt } from "../../../../setup/rig.ts"
import { FIELDS, payloadOf, recordsOf } from "./converted.ts"
import { POSTGRES_TYPES, POSTGRES_VALUES } from "./postgres-values.ts"

describe("a column of Postgres", () => {
  let postgres: LocalPostgres
  beforeAll(async () => {
    postgres = await startTemporaryPostgres()
    await queryAt(postgres.url, POSTGRES_TYPES)
  })
  afterAll(() => postgres?.stop())
  const rows = (query: string) => recordsOf({ kind: "sql", from: postgres.url, query })

  it("arrives in the payload as it is", async () => {
    const columns = Object.entries(POSTGRES_VALUES).map(([name, [sql]]) => `${sql} as "${name}"`)
    const [row] = await rows(`select 'c' as context_window_id, ${columns.join(", ")}`)
    expect(payloadOf(row)).toEqual(
      Object.fromEntries(Object.entries(POSTGRES_VALUES).map(([name, [, json]]) => [name, json])),
    )
  })

  it("is of every type that Postgres has and can write", async () => {
    const typesOf = Object.values(POSTGRES_VALUES).map(([sql]) => `select pg_typeof(${sql})::oid as oid`)
    const missing = await queryAt<{ name: string }>(
      postgres.url,
      `with tried as (${typesOf.join(" union ")}) select typname as name from pg_type
       where typnamespace = 'pg_catalog'::regnamespace and typtype in ('b', 'r', 'm') and typcategory <> 'A'
       and oid not in (select oid from tried)`,
    )
    const writable: string[] = []
    for (const { name } of missing)
      await queryAt(postgres.url, `select ''::pg_catalog."${name}"`).then(
        () => writable.push(name),
        (error: { code: string }) => {
          // feature_not_supported: no value can be written.
          if (error.code !== "0A000") writable.push(name)
        },
      )
    expect(writable).toEqual([])
  })

  it("arrives in an array as it does alone", async () => {
    const elements = Object.entries(POSTGRES_VALUES).filter(
      ([name, [sql]]) => !/array|\[\]|vector|row\(|^box/.test(sql) && name !== "from_zero",
    )
    const columns = elements.map(([name, [sql]]) => `array[${sql}] as "${name}"`)
    const [row] = await rows(`select 'c' as context_window_id, ${columns.join(", ")}`)
    expect(payloadOf(row)).toEqual(
      Object.fromEntries(elements.map(([name, [, json]]) => [name, `[${json}]`])),
    )
  })

  it("gets the type of its field", async () => {
    const [row] = await rows(
      `select 12345678901234567890123::numeric as context_window_id, 76561198000000001 as user_id, 2.30 as agent_id,
       1.0::numeric as signal_score, '1.00000000000' as emotional_tone, true as escalate_flag,
       extract(epoch from timestamptz '2025-01-15 10:00:00+00') as timestamp, 'x'::bytea as raw_content,
       '{"n": 1}'::text as payload`,
    )
    expect(JSON.parse(row ?? "")).toEqual({ ...FIELDS, payload: { n: 1 } })
  })

  it("has one JSON type in every row", async () => {
    const found = await rows(
      "select 'c' as context_window_id, n::numeric(10,2) as price from unnest(array[19.50, 19.55, 20, 1.5, 0.10]) as n",
    )
    expect(found.map((row) => payloadOf(row).price)).toEqual(["19.50", "19.55", "20.00", "1.50", "0.10"])
  })

  it.each([
    [
      "select 'c' as context_window_id, 'first' as raw_content, 'second' as raw_content",
      'The query has two columns named "raw_content".',
    ],
    ["select 1 as room where false", "The query has no column for context_window_id."],
    [
      "select 'c' as context_window_id, now() as time",
      'The query has a column "time" and none for timestamp',
    ],
  ])("is refused where every row would be wrong: %s", async (query, sentence) => {
    await expect(rows(query)).rejects.toThrow(sentence)
  })

  it("must be the only one of its field", async () => {
    const query = "select 'c' as context_window_id, 'a' as raw_content, 'b' as body"
    const map = { body: "raw_content" }
    await expect(recordsOf({ kind: "sql", from: postgres.url, query, map })).rejects.toThrow(
      'The query has two columns for raw_content: "raw_content" and "body".',
    )
  })
})
