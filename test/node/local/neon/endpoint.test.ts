import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { failureOf, type NeonSetup, startNeon } from "../../../setup/neon.ts"

let neon: NeonSetup

beforeAll(async () => {
  neon = await startNeon()
})
afterAll(() => neon?.stop())

describe("a statement", () => {
  it("returns rows whose values have JavaScript types", async () =>
    expect(
      await neon.sql`select 1 as int, 2.5::float8 as float, true as bool, null as nothing, ${"x"}::text as text, '{"a":[1]}'::jsonb as json`,
    ).toEqual([{ int: 1, float: 2.5, bool: true, nothing: null, text: "x", json: { a: [1] } }]))

  it("returns values without a JavaScript type as text, with every digit", async () =>
    expect(
      await neon.sql`select 9223372036854775807::int8 as big, 0.1234567890123456789::numeric as exact`,
    ).toEqual([{ big: "9223372036854775807", exact: "0.1234567890123456789" }]))

  it("takes parameters of every type that the driver writes", async () => {
    const at = new Date("2026-01-02T03:04:05.678Z")
    const bytes = Buffer.from([0, 1, 254, 255])
    const text = 'a "quoted" \\ {brace}, \u{1F680} \u2028'
    const [row] =
      await neon.sql`select ${at}::timestamptz as at, ${bytes} as bytes, ${[text, null, ""]}::text[] as texts,
      ${[1, 2]}::int[] as ints, ${123n}::int8 as big, ${{ a: text }}::jsonb as json, ${undefined}::text as nothing`
    expect(row).toEqual({
      at,
      bytes,
      texts: [text, null, ""],
      ints: [1, 2],
      big: "123",
      json: { a: text },
      nothing: null,
    })
  })

  it("carries megabytes both ways unchanged", async () => {
    const long = "\u00e9\u{1F600} x".repeat(1_000_000)
    const [row] = await neon.sql`select ${long}::text as long`
    expect(row?.long === long).toBe(true)
  })

  it("answers with arrays and with full results when asked to", async () => {
    expect(await neon.sql.query("select 1 as a, 2 as b", [], { arrayMode: true })).toEqual([[1, 2]])
    const full = await neon.sql.query("insert into things values (1, 'one'), (2, 'two') returning id", [], {
      fullResults: true,
    })
    expect(full).toMatchObject({
      rows: [{ id: 1 }, { id: 2 }],
      rowCount: 2,
      command: "INSERT",
      fields: [
        { name: "id", dataTypeID: 23, columnID: 1, dataTypeSize: 4, dataTypeModifier: -1, format: "text" },
      ],
    })
  })

  it.each([
    ["create temp table t (a int)", "CREATE"],
    ["", ""],
  ])("may return no rows: %j", async (text, command) =>
    expect(await neon.sql.query(text, [], { fullResults: true })).toMatchObject({
      rows: [],
      rowCount: null,
      command,
    }),
  )
})

describe("session state", () => {
  it.each([
    ["a setting", "select set_config('application_name', 'left over', false)"],
    ["a lock", "select pg_advisory_lock(5)"],
    ["a temporary table", "create temp table left_over (a int)"],
    ["a prepared statement", "prepare left_over as select 1"],
    ["a role", "set session authorization pg_monitor"],
    ["a subscription", "listen left_over"],
  ])("does not reach the next statement: %s", async (_, text) => {
    await neon.sql.query(text)
    const [row] =
      await neon.sql`select current_setting('application_name') as name, to_regclass('left_over') as table,
      (select count(*)::int from pg_locks where locktype = 'advisory') as locks, (select count(*)::int from pg_prepared_statements) as prepared,
      session_user as role, array(select pg_listening_channels()) as channels`
    expect(row).toEqual({
      name: expect.stringContaining("neondatabase"),
      table: null,
      locks: 0,
      prepared: 0,
      role: "postgres",
      channels: [],
    })
  })

  it("does not hold an open transaction, so that the next statement commits", async () => {
    await neon.sql`begin`
    await neon.sql`insert into things values (5, 'five')`
    expect(await neon.count("select from things where id = 5")).toBe(1)
  })

  it("does not come from a connection on which a transaction is open", async () => {
    const [begun] = await neon.sql`select pg_backend_pid() as pid`
    await neon.sql`begin`
    expect(await neon.sql`select pg_backend_pid() as pid`).not.toEqual([begun])
  })

  it("comes from one connection that is used again and again", async () => {
    const pid = async () => (await neon.sql`select pg_backend_pid() as pid`)[0]?.pid
    const first = await pid()
    for (let turn = 0; turn < 5; turn++) expect(await pid()).toBe(first)
    await failureOf(neon.sql`select nothing`)
    expect(await pid(), "one on which a statement failed is thrown away, as at Neon").not.toBe(first)
  })
})

describe("a transaction", () => {
  it("runs all its statements, at one moment", async () => {
    const [, counted, first, second] = await neon.sql.transaction([
      neon.sql`insert into things values (10, 'ten')`,
      neon.sql`select count(*)::int as count from things where id = 10`,
      neon.sql`select now() as now`,
      neon.sql`select now() as now`,
    ])
    expect(counted).toEqual([{ count: 1 }])
    expect(first).toEqual(second)
  })

  it("answers with arrays and with full results when asked to", async () => {
    const queries = [neon.sql`select 1 as a`, neon.sql`select 'x' as b`]
    expect(await neon.sql.transaction(queries, { arrayMode: true, fullResults: true })).toMatchObject([
      { rows: [[1]], command: "SELECT", rowCount: 1 },
      { rows: [["x"]], command: "SELECT", rowCount: 1 },
    ])
    expect(await neon.sql.transaction([])).toEqual([])
  })

  it("runs none when one fails, and returns the error of that one", async () => {
    const failure = await failureOf(
      neon.sql.transaction([
        neon.sql`insert into things values (11, 'eleven')`,
        neon.sql`insert into things values (11, 'again')`,
      ]),
    )
    expect(failure).toMatchObject({
      code: "23505",
      constraint: "things_pkey",
      detail: "Key (id)=(11) already exists.",
      severity: "ERROR",
    })
    expect(await neon.sql`select from things where id = 11`).toEqual([])
  })

  it.each([
    ["ReadUncommitted", "read uncommitted"],
    ["ReadCommitted", "read committed"],
    ["RepeatableRead", "repeatable read"],
    ["Serializable", "serializable"],
  ] as const)("runs at the isolation level %s", async (isolationLevel, name) => {
    const [rows] = await neon.sql.transaction([neon.sql`show transaction_isolation`], { isolationLevel })
    expect(rows).toEqual([{ transaction_isolation: name }])
  })

  it("can be read only and deferrable", async () => {
    const modes = () => [neon.sql`show transaction_read_only`, neon.sql`show transaction_deferrable`]
    const options = { isolationLevel: "Serializable", readOnly: true, deferrable: true } as const
    expect(await neon.sql.transaction(modes(), options)).toEqual([
      [{ transaction_read_only: "on" }],
      [{ transaction_deferrable: "on" }],
    ])
    expect(await neon.sql.transaction(modes())).toEqual([
      [{ transaction_read_only: "off" }],
      [{ transaction_deferrable: "off" }],
    ])
    expect(
      (
        await failureOf(
          neon.sql.transaction([neon.sql`insert into things values (12, 'x')`], { readOnly: true }),
        )
      ).code,
    ).toBe("25006")
  })
})

describe("an answer in the modes that the driver does not use", () => {
  const QUERY = `select 1 as a, true as b, $1::int8 as c, '{"n": 12345678901234567890}'::json as d, 'NaN'::float8 as e,
    '{{1,NULL},{3,4}}'::int[] as f, array['x,"}', null, ''] as g, array['{"n": 1}'::jsonb] as h, null as i`
  const OBJECT =
    '"a":1,"b":true,"c":"5","d":{"n": 12345678901234567890},"e":"NaN","f":[[1,null],[3,4]],"g":["x,\\"}",null,""],"h":[{"n": 1}],"i":null'

  const rows = async (headers: Record<string, string>, more: object = {}) => {
    const body = JSON.stringify({ query: QUERY, params: [5], ...more })
    const response = await fetch(neon.endpoint.url, {
      method: "POST",
      body,
      headers: { "Neon-Connection-String": neon.postgres.url, ...headers },
    })
    return /"rows":\[(.*)\],"command"/.exec(await response.text())?.[1]
  }

  it("holds JSON values under their names, every digit kept", async () =>
    expect(await rows({})).toBe(`{${OBJECT}}`))

  it("holds JSON values in arrays", async () => {
    const array = `[${OBJECT.replace(/"[a-i]":/g, "")}]`
    expect(await rows({ "Neon-Array-Mode": "true" })).toBe(array)
    expect(await rows({}, { arrayMode: true })).toBe(array)
  })

  it("holds Postgres' own text under names", async () =>
    expect(JSON.parse((await rows({ "Neon-Raw-Text-Output": "true" })) ?? "")).toMatchObject({
      a: "1",
      b: "t",
      f: "{{1,NULL},{3,4}}",
    }))
})
