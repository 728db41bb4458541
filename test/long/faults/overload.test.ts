import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest"
import { misstored, type Rig, sendBatch, startStorage } from "../../setup/rig.ts"
import { runBundle } from "../../setup/workerd.ts"

let rig: Rig
/** Statements under way between the service and the database: how many, and the most there were. */
const inFlight = { now: 0, most: 0 }

beforeAll(async () => {
  const storage = await startStorage()
  const counter = createServer(async (request, response) => {
    inFlight.most = Math.max(inFlight.most, ++inFlight.now)
    try {
      const chunks: Buffer[] = []
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
      const headers = Object.entries(request.headers).filter(([name]) => name.startsWith("neon-")) as [
        string,
        string,
      ][]
      const answer = await fetch(storage.endpoint.url, {
        method: "POST",
        headers,
        body: Buffer.concat(chunks),
      })
      response.writeHead(answer.status, { "Content-Type": "application/json" }).end(await answer.text())
    } catch {
      response.destroy()
    } finally {
      inFlight.now--
    }
  })
  await new Promise<void>((resolve) => counter.listen(0, "127.0.0.1", resolve))
  const endpoint = `http://127.0.0.1:${(counter.address() as AddressInfo).port}/sql`
  const service = await runBundle(inject("bundle"), { ...storage.bindings, DATABASE_HTTP_ENDPOINT: endpoint })
  rig = {
    ...storage,
    service,
    async stop() {
      await service.stop()
      counter.closeAllConnections()
      counter.close()
      await storage.stop()
    },
  }
})
afterAll(() => rig?.stop())

const BUSY = { detail: "Too many requests at once. Nothing was stored. Send it again.", code: "overloaded" }

/** More signals than a batch may have that shares a statement with others. */
const LARGE = 101

/** Sends batches at the same time; each is stored once, or is answered 503 and not stored. */
async function burst(callers: number, size = LARGE): Promise<{ stored: number; busy: number }> {
  const sent = await Promise.all(
    Array.from({ length: callers }, () => sendBatch(rig, {}, crypto.randomUUID(), size)),
  )
  const stored = sent.filter(({ status }) => status === 200).map(({ conversation }) => conversation)
  const busy = sent.filter(({ status }) => status !== 200)
  for (const { status, headers, body } of busy)
    expect([status, headers.get("Retry-After"), body]).toEqual([503, expect.stringMatching(/^\d+$/), BUSY])
  expect(await misstored(rig, stored, size)).toEqual({ lostOrDoubled: [], torn: [] })
  const [row] = await rig.query<{ count: number }>(
    "select count(*)::int4 as count from batches where transaction_id is not null",
  )
  expect(row?.count).toBe(stored.length)
  await rig.query("truncate signals, batches, dedupe_keys")
  return { stored: stored.length, busy: busy.length }
}

describe("200 callers at once", () => {
  it("have at most 8 writes under way; each batch is stored once or answered 503", async () => {
    inFlight.most = 0
    const { stored } = await burst(200)
    expect(stored).toBeGreaterThan(0)
    expect(inFlight.most).toBeLessThanOrEqual(8)
    expect(inFlight.most).toBeGreaterThan(1)
  })

  it("callers who send small batches share statements, and all are stored while the database is slow", async () => {
    rig.endpoint.faults.latencyMs = 1500
    const slow = await burst(60, 20)
    rig.endpoint.faults.latencyMs = 0
    expect(slow).toEqual({ stored: 60, busy: 0 })
  })

  it("do not keep a read from its answer", async () => {
    rig.endpoint.faults.latencyMs = 100
    const writes = burst(200)
    const read = await fetch(`${rig.service.address}/api/signals?limit=1`)
    rig.endpoint.faults.latencyMs = 0
    await writes
    expect(read.status).toBe(200)
  })

  it("get 503 while the database stalls, and are served again afterwards", async () => {
    // A write that comes within 4 seconds waits its 2 seconds in vain; those under way keep their deadline.
    rig.endpoint.faults.latencyMs = 6000
    const stalled = await burst(60)
    rig.endpoint.faults.latencyMs = 0
    expect(stalled).toEqual({ stored: 8, busy: 52 })
    expect(await burst(8)).toEqual({ stored: 8, busy: 0 })
  })

  it("callers who disconnect do not hold a slot for long", async () => {
    rig.endpoint.faults.latencyMs = 300
    const gone = new AbortController()
    // Too large for a group, so that each is a statement of its own.
    const signals = Array.from({ length: 101 }, () => ({ context_window_id: "left" }))
    const left = Array.from({ length: 8 }, () =>
      fetch(`${rig.service.address}/api/signals/batch`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ signals }),
        signal: gone.signal,
      }).catch(() => {}),
    )
    await expect.poll(() => inFlight.now).toBe(8)
    gone.abort()
    await Promise.all(left)
    rig.endpoint.faults.latencyMs = 0
    await expect.poll(() => inFlight.now).toBe(0)
    await rig.query("truncate signals, batches, dedupe_keys")
    expect(await burst(8)).toEqual({ stored: 8, busy: 0 })
  })
})
