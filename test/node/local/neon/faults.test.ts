import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { startNeonEndpoint } from "../../../../src/local/neon/endpoint.ts"
import { failureOf, type NeonSetup, startNeon } from "../../../setup/neon.ts"

let neon: NeonSetup

beforeAll(async () => {
  neon = await startNeon()
})
afterAll(() => neon?.stop())

/** How many backends run a statement with these words in it. */
const running = (words: string) =>
  neon.count(
    `select from pg_stat_activity where query like '%${words}%' and pid <> pg_backend_pid() and state in ('active', 'idle in transaction')`,
  )

describe("an injected fault", () => {
  it("delays every answer", async () => {
    neon.endpoint.faults.latencyMs = 50
    const startedAt = performance.now()
    await neon.sql`select 1`
    neon.endpoint.faults.latencyMs = 0
    expect(performance.now() - startedAt).toBeGreaterThan(49)
  })

  it("loses the answer to a statement that was committed", async () => {
    neon.endpoint.faults.loseAnswers = 1
    const failure = await failureOf(neon.sql`insert into things values (30, 'lost')`)
    expect(failure.message).toMatch(/^Error connecting to database/)
    expect(await neon.sql`select name from things where id = 30`).toEqual([{ name: "lost" }])
  })

  it("loses the answer to a transaction that was committed", async () => {
    neon.endpoint.faults.loseAnswers = 1
    await failureOf(neon.sql.transaction([neon.sql`insert into things values (31, 'lost')`]))
    expect(await neon.sql`select name from things where id = 31`).toEqual([{ name: "lost" }])
  })

  it("refuses every connection until it is removed", async () => {
    await neon.endpoint.faults.refuse()
    await neon.endpoint.faults.refuse()
    const failure = await failureOf(neon.sql`select 1`)
    await neon.endpoint.faults.accept()
    await neon.endpoint.faults.accept()
    expect(failure.message).toMatch(/^Error connecting to database/)
    expect(failure.sourceError).toBeInstanceOf(Error)
    expect(await neon.sql`select 1 as one`).toEqual([{ one: 1 }])
  })

  it("returns the given answers in order, and runs no statement", async () => {
    neon.endpoint.faults.failures.push(
      { status: 400, message: "deadlock detected", code: "40P01" },
      { status: 500, message: "Couldn't connect to compute node" },
    )
    expect((await failureOf(neon.sql`insert into things values (32, 'x')`)).code).toBe("40P01")
    expect((await failureOf(neon.sql`insert into things values (32, 'x')`)).message).toContain(
      "Couldn't connect to compute node",
    )
    expect(await neon.sql`select from things where id = 32`).toEqual([])
  })

  it("can be set at the start", async () => {
    const endpoint = await startNeonEndpoint({
      faults: { failures: [{ status: 503, message: "not today" }] },
    })
    const response = await fetch(endpoint.url, { method: "POST", body: "{}" })
    await endpoint.stop()
    expect([response.status, (await response.json()).message]).toEqual([503, "not today"])
  })
})

describe("a caller that goes away", () => {
  it("has its statement cancelled", async () => {
    const gone = new AbortController()
    const query = failureOf(
      neon.sql.query("select pg_sleep(60)", [], { fetchOptions: { signal: gone.signal } }),
    )
    await expect.poll(() => running("pg_sleep(60)")).toBe(1)
    gone.abort()
    expect((await query).sourceError?.name).toBe("AbortError")
    await expect.poll(() => running("pg_sleep(60)")).toBe(0)
  })

  it("after its own time limit has its statement cancelled", async () => {
    const signal = AbortSignal.timeout(100)
    const failure = await failureOf(neon.sql.query("select pg_sleep(61)", [], { fetchOptions: { signal } }))
    expect(failure.sourceError?.name).toBe("TimeoutError")
    await expect.poll(() => running("pg_sleep(61)")).toBe(0)
  })

  it("leaves nothing of its transaction", async () => {
    const gone = new AbortController()
    const queries = [
      neon.sql`insert into things values (40, 'first')`,
      neon.sql`select pg_sleep(62)`,
      neon.sql`insert into things values (41, 'last')`,
    ]
    const transaction = failureOf(neon.sql.transaction(queries, { fetchOptions: { signal: gone.signal } }))
    await expect.poll(() => running("pg_sleep(62)")).toBe(1)
    gone.abort()
    await transaction
    await expect.poll(() => running("pg_sleep(62)")).toBe(0)
    expect(await neon.sql`select from things where id in (40, 41)`).toEqual([])
  })

  it("never cancels the statement of another caller", async () => {
    const impatient = Array.from({ length: 40 }, (_, turn) =>
      neon.sql
        .query("select 1", [], { fetchOptions: { signal: AbortSignal.timeout(turn % 8) } })
        .catch(() => {}),
    )
    const patient = Array.from({ length: 40 }, () => neon.sql`select pg_sleep(0.02), 1 as one`)
    for (const rows of await Promise.all(patient)) expect(rows).toMatchObject([{ one: 1 }])
    await Promise.all(impatient)
  })
})

describe("Postgres killed under a statement", () => {
  it("is a lost connection without a code, then a failed one, and works again after a restart", async () => {
    const query = failureOf(neon.sql`select pg_sleep(63)`)
    await expect.poll(() => running("pg_sleep(63)")).toBe(1)
    await neon.postgres.kill()
    expect(await query).toMatchObject({ code: "", message: "connection closed" })
    // The backend of an idle connection may still have the time to say why it ends.
    expect((await failureOf(neon.sql`select 1`)).message).toMatch(
      /HTTP status 500.*Couldn't connect to compute node|connection closed|unexpected postmaster exit/,
    )
    await neon.postgres.restart()
    await expect.poll(() => neon.sql`select 1 as one`.catch(() => undefined)).toEqual([{ one: 1 }])
  })
})

describe("an endpoint that stops", () => {
  it("leaves no connection to Postgres, not even one that is busy", async () => {
    const endpoint = await startNeonEndpoint()
    const headers = { "Neon-Connection-String": `${neon.postgres.url}?application_name=stopped` }
    const ask = (query: string) =>
      fetch(endpoint.url, { method: "POST", body: JSON.stringify({ query }), headers })
    await ask("select 1")
    const busy = ask("select pg_sleep(64)").catch(() => {})
    await expect.poll(() => running("pg_sleep(64)")).toBe(1)
    await endpoint.stop()
    await busy
    // One that is cut off while it sleeps takes note when it wakes; all others are gone.
    await expect
      .poll(() =>
        neon.count(
          "select from pg_stat_activity where application_name = 'stopped' and query not like '%pg_sleep%'",
        ),
      )
      .toBe(0)
    await neon.count(
      "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(64)%' and pid <> pg_backend_pid()",
    )
  })
})
