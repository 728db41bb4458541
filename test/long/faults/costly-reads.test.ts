import { randomUUID } from "node:crypto"
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest"
import { lockedTables, type Rig, startRig } from "../../setup/rig.ts"

const DEADLINE_MS = 4000

let rig: Rig

beforeAll(async () => {
  rig = await startRig({ DATABASE_DEADLINE_MS: String(DEADLINE_MS) })
  await rig.query(
    "insert into batches (transaction_id, caller, state, total_count, failed_count, failures) values ($1, 'test', 'stored', 1, 0, '[]')",
    [TRANSACTION_ID],
  )
  await rig.query(
    `insert into signals (time, transaction_id, context_window_id, signal_source, signal_score, escalate_flag)
     select now(), $1, repeat('c', 200) || n, 'test', 0.5, 0 from generate_series(1, 20000) as n`,
    [TRANSACTION_ID],
  )
})
afterAll(() => rig?.stop())

const TRANSACTION_ID = randomUUID()

/** Sets a limit of Postgres for the service's sessions, which start anew. */
async function limitSessions(setting: string): Promise<void> {
  const name = new URL(rig.bindings.DATABASE_URL ?? "").username
  await rig.query(`alter role ${name} ${setting}`)
  await rig.query("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", [name])
}

afterEach(() => limitSessions("reset all"))

const whileLocked = <T>(work: () => Promise<T>) =>
  lockedTables(rig, ["signals", "batches", "dead_letters"], work)

async function read(path: string, method = "GET") {
  const before = rig.endpoint.requests()
  const response = await fetch(`${rig.service.address}${path}`, { method })
  const { detail } = (await response.json()) as { detail?: unknown }
  return { status: response.status, detail, statements: rig.endpoint.requests() - before }
}

const SIGNAL_FILTERS = "context_window_id, user_id, signal_source, since, until, limit"

const tooCostly = (why: string, narrowBy: string) => [
  {
    type: "read_too_costly",
    loc: ["query"],
    msg: `The database does not finish this read: ${why}. Narrow it by: ${narrowBy}`,
  },
]

const READS: { path: string; method?: string; narrowBy: string }[] = [
  { path: "/api/signals", narrowBy: SIGNAL_FILTERS },
  { path: "/api/signals/stats", narrowBy: "since" },
  { path: "/api/batches", narrowBy: "limit" },
  { path: "/api/dead-letters", narrowBy: "transaction_id, limit" },
  { path: "/api/dead-letters/replay", method: "POST", narrowBy: "ids, source, limit" },
]

describe("a read that Postgres does not finish", () => {
  it.each(READS)(
    "$path: is cancelled by the service before its deadline, and the answer says what to narrow",
    async (route) => {
      const { status, detail } = await whileLocked(() => read(route.path, route.method))
      expect([status, detail]).toEqual([422, tooCostly("it takes longer than 2 seconds", route.narrowBy)])
    },
  )

  it("a read that Postgres cancels is not sent again", async () => {
    await limitSessions("set statement_timeout = '200ms'")
    const { statements, ...answer } = await whileLocked(() => read("/api/signals"))
    const detail = tooCostly("Postgres ended it (SQLSTATE 57014)", SIGNAL_FILTERS)
    expect([answer, statements]).toEqual([{ status: 422, detail }, 1])
  })

  it("a read whose rows exceed its limits is not sent again", async () => {
    await limitSessions("set work_mem = '64kB'")
    await limitSessions("set temp_file_limit = '64kB'")
    const { statements, ...answer } = await read("/api/signals?agent_id=none")
    const detail = tooCostly("Postgres ended it (SQLSTATE 53400)", SIGNAL_FILTERS)
    expect([answer, statements]).toEqual([{ status: 422, detail }, 1])
  })
})

describe("a read that meets an outage", () => {
  it("is sent again until the deadline, and the answer says that the database cannot be reached", async () => {
    rig.endpoint.faults.failures = Array.from({ length: 200 }, () => ({
      status: 500,
      message: "Couldn't connect to compute node",
    }))
    const { status, detail } = await read("/api/signals")
    rig.endpoint.faults.failures = []
    expect([status, detail]).toEqual([503, expect.stringContaining("cannot be reached")])
  })

  it("ends the same way when no answer arrives", async () => {
    rig.endpoint.faults.spoil = Array.from({ length: 200 }, () => "stall" as const)
    const { status, detail } = await read("/api/signals")
    rig.endpoint.faults.spoil = []
    expect([status, detail]).toEqual([503, expect.stringContaining("cannot be reached")])
  })
})
