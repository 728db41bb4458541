import { once } from "node:events"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { Client } from "pg"
import { afterAll, beforeAll, expect, inject, it } from "vitest"
import { type Storage, startStorage } from "../../setup/rig.ts"
import { type RunningBundle, runBundle } from "../../setup/workerd.ts"

/** The message after which Postgres commits. */
const SYNC = Buffer.from([0x53, 0, 0, 0, 4])

/**
 * A way to Postgres on which a proxy can be lost: its connections stay open at Postgres' side, whose
 * statements go on, and a request to cancel one does not arrive.
 */
async function startWay(port: number) {
  const way = { takesConnections: true }
  const open = new Set<Socket>()
  const server = createServer((near) => {
    open.add(near)
    near.on("error", () => {})
    if (!way.takesConnections) return void near.destroy()
    const far = connect(port, "127.0.0.1")
    far.on("error", () => near.destroy())
    near.on("data", (bytes) => far.write(bytes))
    far.on("data", (bytes) => near.writable && near.write(bytes))
    far.on("close", () => near.destroy())
    // Neon's proxy has sent it with the statement, the local endpoint would send it after the rows.
    near.on("close", () => far.write(SYNC))
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return Object.assign(way, {
    port: (server.address() as AddressInfo).port,
    /** The proxy ends, and takes no connection until `takesConnections` is set. */
    lose() {
      way.takesConnections = false
      for (const near of open) near.destroy()
    },
    stop: () => server.close(),
  })
}

let storage: Storage
let way: Awaited<ReturnType<typeof startWay>>
let service: RunningBundle

beforeAll(async () => {
  storage = await startStorage()
  const url = new URL(storage.bindings.DATABASE_URL ?? "")
  way = await startWay(Number(url.port))
  url.port = String(way.port)
  service = await runBundle(inject("bundle"), {
    ...storage.bindings,
    DATABASE_URL: url.href,
    DATABASE_DEADLINE_MS: "1500",
  })
})
afterAll(async () => {
  await service?.stop()
  way?.stop()
  await storage?.stop()
})

const stored = async () => (await storage.query("table signals")).length
const running = () =>
  storage.query("select from pg_stat_activity where usename = 'signal_ingest' and state = 'active'")

async function askLedger(id: string): Promise<number> {
  for (;;) {
    const { status, body } = await fetch(`${service.address}/api/batches/${id}`)
    await body?.cancel()
    if (status !== 503) return status
  }
}

it("a statement of the service has a longest time, whoever created its login", async () => {
  const [role] = await storage.query<{ setting: string[] }>(
    "select rolconfig as setting from pg_roles where rolname = 'signal_ingest'",
  )
  expect(role?.setting).toEqual(["statement_timeout=2min"])
})

it("a batch in doubt, whose statement nobody can cancel, is not stored after that time", async () => {
  // The longest time of this test; that of the service would take two minutes.
  await storage.query("alter role signal_ingest set statement_timeout = '4s'")
  await askLedger("0195f2f4-0000-7000-8000-000000000000")
  const body = JSON.stringify({ signals: [{ context_window_id: "c", dedupe_key: "k" }] })
  // Somebody else's open transaction has the key, so that the statement waits while it runs.
  const holder = new Client({ connectionString: storage.postgres.url })
  await holder.connect()
  try {
    await holder.query("begin")
    await holder.query("insert into dedupe_keys (key_hash, signal_id) values (dedupe_key_hash('k'), 1)")
    const headers = { "Content-Type": "application/json" }
    const sent = fetch(`${service.address}/api/signals/batch`, { method: "POST", headers, body })
    await expect.poll(async () => (await running()).length).toBeGreaterThan(0)
    way.lose()
    const answer = (await (await sent).json()) as { code: string; transaction_id: string }
    expect(answer.code).toBe("in_doubt")
    way.takesConnections = true
    expect(await askLedger(answer.transaction_id)).toBe(404)
    await expect.poll(running).toEqual([])
  } finally {
    await holder.query("rollback")
    await holder.end()
  }
  expect(await stored()).toBe(0)
})
