import { neon as connect } from "@neondatabase/serverless"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { failureOf, type NeonSetup, startNeon } from "../../../setup/neon.ts"

let neon: NeonSetup

beforeAll(async () => {
  neon = await startNeon({ maxRequestBytes: 100_000, maxResponseBytes: 100_000 })
})
afterAll(() => neon?.stop())

const post = (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) =>
  fetch(neon.endpoint.url, {
    method: "POST",
    body,
    headers: { "Neon-Connection-String": neon.postgres.url, ...headers },
  })

const answerTo = async (...request: Parameters<typeof post>) => {
  const response = await post(...request)
  return [response.status, (await response.json()).message]
}

describe("an error of Postgres", () => {
  it("carries its code, severity, position and detail", async () => {
    expect(await failureOf(neon.sql`select nothing from things`)).toMatchObject({
      code: "42703",
      severity: "ERROR",
      position: "8",
    })
    await neon.sql`insert into things values (1, 'one')`
    expect(await failureOf(neon.sql`insert into things values (1, 'again')`)).toMatchObject({
      code: "23505",
      table: "things",
      constraint: "things_pkey",
      detail: "Key (id)=(1) already exists.",
    })
  })

  it("has every key of Neon's, null where Postgres says nothing", async () => {
    const response = await post('{"query": "select 1 / 0"}')
    expect([response.status, await response.json()]).toEqual([
      400,
      {
        message: "division by zero",
        code: "22012",
        severity: "ERROR",
        detail: null,
        hint: null,
        position: null,
        internalPosition: null,
        internalQuery: null,
        where: null,
        table: null,
        column: null,
        schema: null,
        dataType: null,
        constraint: null,
        file: expect.any(String),
        line: expect.any(String),
        routine: expect.any(String),
      },
    ])
    expect(response.headers.get("neon-request-id")).toMatch(/^[0-9a-f-]{36}$/)
  })

  it("is what several statements in one text get", async () =>
    expect((await failureOf(neon.sql.query("select 1; select 2"))).code).toBe("42601"))

  it("an error of the COMMIT is returned as well", async () => {
    await neon.sql`create table later (id int, unique (id) deferrable initially deferred)`
    const twice = () => neon.sql`insert into later values (1), (1)`
    expect((await failureOf(twice())).code).toBe("23505")
    expect((await failureOf(neon.sql.transaction([twice()]))).code).toBe("23505")
    expect(await neon.sql`select from later`).toEqual([])
  })
})

describe("a caller who is refused", () => {
  it("because of a wrong password gets no code, as with Neon", async () => {
    const { username, password, host } = new URL(neon.postgres.url)
    expect(
      await failureOf(connect(`postgresql://${username}:${password}x@${host}/postgres`)`select 1`),
    ).toMatchObject({
      code: "",
      message: "password authentication failed for user 'postgres'",
    })
  })

  it("because of an unknown database gets Neon's 500 with Postgres' code", async () =>
    expect(
      (await failureOf(connect(neon.postgres.url.replace(/postgres$/, "nowhere"))`select 1`)).message,
    ).toMatch(/^Server error \(HTTP status 500\): .*"code":"3D000"/))

  it("because Postgres does not run gets Neon's 500 without a code", async () =>
    expect((await failureOf(connect("postgresql://user:password@localhost:1/db")`select 1`)).message).toMatch(
      /^Server error \(HTTP status 500\): .*Couldn't connect to compute node.*"code":""/,
    ))

  it.each([
    ["nonsense", "invalid connection string: relative URL without a base"],
    ["https://user:password@host/db", "incorrect scheme"],
    ["postgresql://host/db", "missing username"],
    ["postgresql://user@host/db", "missing authentication credentials: required password"],
    ["postgresql://user:password@127.0.0.1/db", "missing hostname"],
  ])("by the connection string %s gets 400", async (url, message) =>
    expect(await answerTo('{"query": "select 1"}', { "Neon-Connection-String": url })).toEqual([
      400,
      message,
    ]),
  )

  it("a request without a connection string gets 400", async () => {
    const response = await fetch(neon.endpoint.url, { method: "POST", body: '{"query": "select 1"}' })
    expect([response.status, (await response.json()).message]).toEqual([
      400,
      "invalid header: neon-connection-string",
    ])
  })
})

describe("a message that is too large", () => {
  it("is 413 as a request", async () =>
    expect((await failureOf(neon.sql`select ${"x".repeat(200_000)}`)).message).toMatch(
      /^Server error \(HTTP status 413\): .*request is too large \(max is 100000 bytes\)/,
    ))

  it("is 507 as an answer, and the statement has run", async () => {
    const failure = await failureOf(
      neon.sql`insert into things values (20, repeat('x', 200000)) returning name`,
    )
    expect(failure.message).toMatch(
      /^Server error \(HTTP status 507\): .*response is too large \(max is 100000 bytes\)/,
    )
    expect(await neon.sql`select id from things where id = 20`).toEqual([{ id: 20 }])
  })

  it("stops a statement whose rows never end, and the next one has a new connection", async () => {
    const [before] = await neon.sql`select pg_backend_pid() as pid`
    const endless = neon.sql`select repeat('x', 1000), generate_series(1, 1000000000)`
    expect((await failureOf(endless)).message).toMatch(/HTTP status 507/)
    expect(await neon.sql`select pg_backend_pid() as pid`).not.toEqual([before])
    const busy = `select from pg_stat_activity where query like '%1000000000)' and state = 'active' and pid <> pg_backend_pid()`
    await expect.poll(() => neon.count(busy)).toBe(0)
  })

  it("is 507 as the answer of a transaction, which is rolled back", async () => {
    const insert = (id: number) =>
      neon.sql`insert into things values (${id}, repeat('x', 60000)) returning name`
    expect((await failureOf(neon.sql.transaction([insert(21), insert(22)]))).message).toMatch(
      /HTTP status 507/,
    )
    expect(await neon.sql`select id from things where id in (21, 22)`).toEqual([])
  })
})

describe("an invalid request", () => {
  it.each([
    "",
    "{",
    "null",
    "[]",
    '{"query":5}',
    '{"queries":{}}',
    '{"query":"select 1","params":5}',
    '{"query":"\\ud800"}',
  ])("is 400 with the body %j", async (body) =>
    expect(await answerTo(body)).toEqual([
      400,
      expect.stringContaining("could not parse the HTTP request body"),
    ]),
  )

  it("is 400 when it is not UTF-8", async () =>
    expect(await answerTo(Uint8Array.from(Buffer.from('{"query":"select \xe9"}', "latin1")))).toEqual([
      400,
      "could not parse the HTTP request body: invalid unicode code point",
    ]))

  it("is 400 with an unknown isolation level", async () =>
    expect(await answerTo('{"queries":[]}', { "Neon-Batch-Isolation-Level": "Strict" })).toEqual([
      400,
      "invalid isolation level",
    ]))

  it("is 404 on another path", async () =>
    expect((await fetch(neon.endpoint.url.replace("/sql", "/other"))).status).toBe(404))

  it("returns the options of its transaction when they took effect", async () => {
    const options = {
      "Neon-Batch-Isolation-Level": "Serializable",
      "Neon-Batch-Read-Only": "true",
      "Neon-Batch-Deferrable": "false",
    }
    const echoed = (response: Response) => Object.keys(options).map((name) => response.headers.get(name))
    expect(echoed(await post('{"queries":[{"query":"select 1"}]}', options))).toEqual([
      "Serializable",
      "true",
      null,
    ])
    expect(echoed(await post('{"query":"select 1"}', options))).toEqual([null, null, null])
  })
})
