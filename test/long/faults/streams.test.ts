import { execFile } from "node:child_process"
import { randomUUID } from "node:crypto"
import { once } from "node:events"
import { get, type IncomingMessage } from "node:http"
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest"
import { MAX_STREAMS } from "../../../src/http/request/bounds.ts"
import { type Rig, startRig } from "../../setup/rig.ts"
import { settled } from "../../setup/settled.ts"

let rig: Rig
const ROWS = 1200
/** About 38 MB, so that neither the sockets nor the first pages hold it. */
const ROW_BYTES = 32 * 1024

beforeAll(async () => {
  rig = await startRig()
  const id = randomUUID()
  await rig.query(
    "insert into batches (transaction_id, caller, state, total_count, failed_count, failures) values ($1, 'test', 'stored', 1, 0, '[]')",
    [id],
  )
  await rig.query(
    `insert into signals (time, transaction_id, context_window_id, signal_source, signal_score, escalate_flag, raw_content)
     select now() - n * interval '1 second', $1, 'c', 'test', 0.5, 0, repeat('x', $2::int4) from generate_series(1, $3::int4) as n`,
    [id, ROW_BYTES, ROWS],
  )
})
afterAll(() => rig?.stop())
afterEach(() => {
  rig.endpoint.faults.failures.length = 0
})

/** The next statement fails for good. */
const failNext = () =>
  rig.endpoint.faults.failures.push({ status: 400, message: "permission denied", code: "42501" })

/** An answer whose body nobody reads yet. */
async function open(): Promise<IncomingMessage> {
  const request = get(`${rig.service.address}/api/signals/export?format=ndjson`)
  const [response] = (await once(request, "response")) as [IncomingMessage]
  return response
}

async function linesOf(response: IncomingMessage): Promise<number> {
  let lines = 0
  for await (const chunk of response) for (const byte of chunk as Buffer) if (byte === 10) lines++
  return lines
}

/** Statements that a whole stream takes. */
async function statementsOfAll(): Promise<number> {
  const before = rig.endpoint.requests()
  expect(await linesOf(await open())).toBe(ROWS)
  return rig.endpoint.requests() - before
}

describe("a streamed list", () => {
  it("sends no statement while its reader does not read, and continues with it", async () => {
    const response = await open()
    const sent = await settled(rig.endpoint.requests)
    expect(await linesOf(response)).toBe(ROWS)
    expect(rig.endpoint.requests()).toBeGreaterThan(sent)
  })

  it("is a failed transfer for curl when the database fails in its middle", async () => {
    const transfer = new Promise<{ code: unknown; lines: number }>((resolve) => {
      const args = ["-sS", "--limit-rate", "8M", `${rig.service.address}/api/signals/export?format=ndjson`]
      const child = execFile("curl", args, { maxBuffer: 2 ** 30 }, (error, stdout) =>
        resolve({ code: error?.code, lines: stdout.split("\n").length - 1 }),
      )
      child.stdout?.once("data", failNext)
    })
    const { code, lines } = await transfer
    expect(code).toBe(18)
    expect(lines).toBeGreaterThan(0)
    expect(lines).toBeLessThan(ROWS)
    await expect
      .poll(() => rig.service.log.filter((line) => line.includes("stream_end")).at(-1))
      .toMatch(/"outcome":"cut_off".*"error":"database error \(broken\): 42501/)
  })

  it("is a network error for fetch", async () => {
    const response = await fetch(`${rig.service.address}/api/signals/export?format=csv`)
    const reader = response.body?.getReader()
    await reader?.read()
    failNext()
    const rest = (async () => {
      while (!(await reader?.read())?.done);
    })()
    await expect(rest).rejects.toThrow("terminated")
  })

  it("stops reading when its reader has left, and frees its slot", async () => {
    const all = await statementsOfAll()
    const before = rig.endpoint.requests()
    for (let reader = 0; reader < MAX_STREAMS; reader++) (await open()).destroy()
    const sent = (await settled(rig.endpoint.requests)) - before
    expect(sent).toBeLessThan(MAX_STREAMS * all)
    await expect
      .poll(async () => {
        const response = await open()
        response.resume()
        await once(response, "end")
        return response.statusCode
      })
      .toBe(200)
  })

  it("waits for a slot among the reads when others use all of them", async () => {
    const response = await open()
    const [row] = await rig.query<{ id: string }>("select max(id) as id from signals")
    let reading = true
    const others = Array.from({ length: 12 }, async () => {
      while (reading) await (await fetch(`${rig.service.address}/api/signals/${row?.id}`)).text()
    })
    expect(await linesOf(response)).toBe(ROWS)
    reading = false
    await Promise.all(others)
  })
})
