import { NeonDbError, type NeonQueryFunction, neon, neonConfig } from "@neondatabase/serverless"
import { Client } from "pg"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type NeonEndpoint, startNeonEndpoint } from "../../src/local/neon-endpoint.ts"
import { type LocalPostgres, startTemporaryPostgres } from "../../src/local/postgres.ts"

/** Neon's own client, as it is, against the local endpoint. */
let postgres: LocalPostgres
let endpoint: NeonEndpoint
let sql: NeonQueryFunction<false, false>

beforeAll(async () => {
  postgres = await startTemporaryPostgres()
  endpoint = await startNeonEndpoint({ maxRequestBytes: 100_000, maxResponseBytes: 100_000 })
  neonConfig.fetchEndpoint = endpoint.url
  sql = neon(postgres.url)
  await sql`create table things (id int primary key, name text)`
})
afterAll(async () => {
  await endpoint?.stop()
  await postgres?.stop()
})

const failureOf = async (query: Promise<unknown>): Promise<NeonDbError> => {
  const failure = await query.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(failure).toBeInstanceOf(NeonDbError)
  return failure as NeonDbError
}

describe("a statement", () => {
  it("answers with rows whose values have the types of JavaScript", async () =>
    expect(
      await sql`select 1 as int, 2.5::float8 as float, true as bool, null as nothing, ${"x"}::text as text, '{"a":[1]}'::jsonb as json`,
    ).toEqual([{ int: 1, float: 2.5, bool: true, nothing: null, text: "x", json: { a: [1] } }]))

  it("keeps what JavaScript has no type for as text, every digit there", async () =>
    expect(await sql`select 9223372036854775807::int8 as big, 0.1234567890123456789::numeric as exact`).toEqual([
      { big: "9223372036854775807", exact: "0.1234567890123456789" },
    ]))

  it("answers with arrays and with full results when asked to", async () => {
    expect(await sql.query("select 1 as a, 2 as b", [], { arrayMode: true })).toEqual([[1, 2]])
    const full = await sql.query("insert into things values (1, 'one'), (2, 'two') returning id", [], { fullResults: true })
    expect(full).toMatchObject({
      rows: [{ id: 1 }, { id: 2 }],
      rowCount: 2,
      command: "INSERT",
      fields: [{ name: "id", dataTypeID: 23 }],
    })
  })

  it("may be one that returns nothing", async () =>
    expect(await sql.query("create temp table t (a int)", [], { fullResults: true })).toMatchObject({
      rows: [],
      rowCount: null,
      command: "CREATE",
    }))

  it("leaves no session state to the next one", async () => {
    await sql`select set_config('application_name', 'left over', false), pg_advisory_lock(5)`
    await sql`create temp table left_over (a int)`
    for (let turn = 0; turn < 5; turn++) {
      const [row] = await sql`select current_setting('application_name') as name, to_regclass('left_over') as table,
        (select count(*)::int from pg_locks where locktype = 'advisory') as locks`
      expect(row).toEqual({ name: expect.stringContaining("neondatabase"), table: null, locks: 0 })
    }
  })
})

describe("a transaction", () => {
  it("does all its statements", async () => {
    const [, counted] = await sql.transaction([
      sql`insert into things values (10, 'ten')`,
      sql`select count(*)::int as count from things where id = 10`,
    ])
    expect(counted).toEqual([{ count: 1 }])
  })

  it("does none when one fails, and tells that one's error", async () => {
    const failure = await failureOf(
      sql.transaction([sql`insert into things values (11, 'eleven')`, sql`insert into things values (11, 'again')`]),
    )
    expect(failure).toMatchObject({
      code: "23505",
      constraint: "things_pkey",
      detail: "Key (id)=(11) already exists.",
      severity: "ERROR",
    })
    expect(await sql`select from things where id = 11`).toEqual([])
  })

  it.each([
    ["ReadUncommitted", "read uncommitted"],
    ["ReadCommitted", "read committed"],
    ["RepeatableRead", "repeatable read"],
    ["Serializable", "serializable"],
  ] as const)("runs at the isolation level %s", async (isolationLevel, name) => {
    const [rows] = await sql.transaction([sql`show transaction_isolation`], { isolationLevel })
    expect(rows).toEqual([{ transaction_isolation: name }])
  })

  it("may be read only and deferrable", async () => {
    const [readOnly, deferrable] = await sql.transaction([sql`show transaction_read_only`, sql`show transaction_deferrable`], {
      isolationLevel: "Serializable",
      readOnly: true,
      deferrable: true,
    })
    expect([readOnly, deferrable]).toEqual([[{ transaction_read_only: "on" }], [{ transaction_deferrable: "on" }]])
    expect((await failureOf(sql.transaction([sql`insert into things values (12, 'x')`], { readOnly: true }))).code).toBe("25006")
  })
})

describe("an error", () => {
  it("of Postgres carries its code, severity, position and detail", async () => {
    expect(await failureOf(sql`select nothing from things`)).toMatchObject({ code: "42703", severity: "ERROR", position: "8" })
    expect(await failureOf(sql`insert into things values (1, 'again')`)).toMatchObject({
      code: "23505",
      table: "things",
      constraint: "things_pkey",
      detail: "Key (id)=(1) already exists.",
    })
  })

  it("is what several statements in one text get", async () =>
    expect((await failureOf(sql.query("select 1; select 2"))).code).toBe("42601"))

  it("for a wrong password has no code, as at Neon", async () => {
    const wrong = neon(postgres.url.replace("postgres:postgres@", "postgres:wrong@"))
    expect(await failureOf(wrong`select 1`)).toMatchObject({
      code: "",
      message: expect.stringContaining("password authentication failed"),
    })
  })

  it("for an unknown database is Neon's 500 with Postgres' code in it", async () => {
    const unknown = neon(postgres.url.replace(/postgres$/, "nowhere"))
    expect((await failureOf(unknown`select 1`)).message).toMatch(/^Server error \(HTTP status 500\): .*"code":"3D000"/)
  })

  it("for a request over the limit is 413", async () =>
    expect((await failureOf(sql`select ${"x".repeat(200_000)}`)).message).toMatch(/^Server error \(HTTP status 413\)/))

  it("for an answer over the limit is 507, and the statement has run", async () => {
    const failure = await failureOf(sql`insert into things values (20, repeat('x', 200000)) returning name`)
    expect(failure.message).toMatch(/^Server error \(HTTP status 507\)/)
    expect(await sql`select id from things where id = 20`).toEqual([{ id: 20 }])
  })

  it("of an endpoint that refuses is the driver's own", async () => {
    await endpoint.faults.refuse()
    const failure = await failureOf(sql`select 1`)
    await endpoint.faults.accept()
    expect(failure.message).toMatch(/^Error connecting to database/)
    expect(failure.sourceError).toBeInstanceOf(Error)
  })

  it("of an answer that got lost leaves the statement committed", async () => {
    endpoint.faults.loseAnswers = 1
    expect((await failureOf(sql`insert into things values (30, 'lost')`)).message).toMatch(/^Error connecting to database/)
    expect(await sql`select name from things where id = 30`).toEqual([{ name: "lost" }])
  })

  it("chosen by a test arrives as chosen", async () => {
    endpoint.faults.failures.push(
      { status: 400, message: "deadlock detected", code: "40P01" },
      { status: 500, message: "Couldn't connect to compute node" },
    )
    expect((await failureOf(sql`select 1`)).code).toBe("40P01")
    expect((await failureOf(sql`select 1`)).message).toContain("Couldn't connect to compute node")
  })
})

describe("a request that no driver would send", () => {
  const post = (body: string, headers: Record<string, string> = { "Neon-Connection-String": postgres.url }) =>
    fetch(endpoint.url, { method: "POST", body, headers })

  it.each(["", "{", "[]", '{"query":5}', '{"queries":{}}'])("with the body %j is 400", async (body) => {
    const response = await post(body)
    expect([response.status, (await response.json()).message]).toEqual([
      400,
      expect.stringContaining("could not parse the HTTP request body"),
    ])
  })

  it("without a connection string is 400", async () => expect((await post('{"query":"select 1"}', {})).status).toBe(400))

  it("to another path is 404, and the browser's question is answered", async () => {
    expect((await fetch(endpoint.url.replace("/sql", "/other"))).status).toBe(404)
    expect((await fetch(endpoint.url, { method: "OPTIONS" })).headers.get("Access-Control-Allow-Origin")).toBe("*")
  })

  it("may leave the modes of the driver out, and gets JSON of objects", async () => {
    const response = await post('{"query":"select 1 as a, true as b, $1::int8 as c","params":[5]}')
    expect(await response.json()).toMatchObject({ rows: [{ a: 1, b: true, c: "5" }], rowAsArray: false })
  })
})

describe("a caller that goes away", () => {
  it("has its statement cancelled", async () => {
    const watcher = new Client({ connectionString: postgres.url })
    await watcher.connect()
    const running = async () =>
      (
        await watcher.query(
          "select from pg_stat_activity where query like '%pg_sleep(60)%' and pid <> pg_backend_pid() and state = 'active'",
        )
      ).rowCount
    const gone = new AbortController()
    const query = failureOf(sql.query("select pg_sleep(60)", [], { fetchOptions: { signal: gone.signal } }))
    await expect.poll(running).toBe(1)
    gone.abort()
    await query
    await expect.poll(running).toBe(0)
    await watcher.end()
  })
})

describe("Postgres killed under a statement", () => {
  it("is a lost connection without a code, then a failed one, then as if nothing had been", async () => {
    const query = failureOf(sql`select pg_sleep(60)`)
    const watcher = new Client({ connectionString: postgres.url })
    watcher.on("error", () => {})
    await watcher.connect()
    await expect
      .poll(
        async () =>
          (await watcher.query("select from pg_stat_activity where query like '%pg_sleep(60)%' and pid <> pg_backend_pid()"))
            .rowCount,
      )
      .toBe(1)
    await postgres.kill()
    expect(await query).toMatchObject({ code: "", message: "connection closed" })
    expect((await failureOf(sql`select 1`)).message).toMatch(
      /HTTP status 500.*Couldn't connect to compute node|connection closed/,
    )
    await postgres.restart()
    await expect.poll(() => sql`select 1 as one`.catch(() => undefined)).toEqual([{ one: 1 }])
  })
})
