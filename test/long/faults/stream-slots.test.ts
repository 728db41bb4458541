import { createHash, randomUUID } from "node:crypto"
import { once } from "node:events"
import { get, type IncomingMessage } from "node:http"
import { text } from "node:stream/consumers"
import { beforeAll, describe, expect, it } from "vitest"
import { MAX_STREAMS, MAX_WAITING_READERS } from "../../../src/http/request/bounds.ts"
import { useRig } from "../../setup/hooks/rig.ts"

const CALLERS = ["one", "two", "three"] as const
type Caller = (typeof CALLERS)[number]

const rig = useRig({
  OPEN_ACCESS: "false",
  API_KEYS: JSON.stringify(
    CALLERS.map((name) => ({
      name,
      sha256: createHash("sha256").update(name).digest("hex"),
      scopes: ["read"],
    })),
  ),
})

const ROWS = 1200
/** About 38 MB, so that neither the sockets nor the first pages hold it. */
const ROW_BYTES = 32 * 1024

beforeAll(async () => {
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

/** An answer whose body nobody reads yet. */
async function open(caller: Caller, path = "/api/signals/export?format=ndjson"): Promise<IncomingMessage> {
  const request = get(`${rig.service.address}${path}`, { headers: { Authorization: `Bearer ${caller}` } })
  // A test ends its own requests.
  request.on("error", () => {})
  const [response] = (await once(request, "response")) as [IncomingMessage]
  return response
}

async function statusOf(response: IncomingMessage): Promise<number | undefined> {
  response.resume()
  await once(response, "end")
  return response.statusCode
}

async function linesOf(response: IncomingMessage): Promise<number> {
  let lines = 0
  for await (const chunk of response) for (const byte of chunk as Buffer) if (byte === 10) lines++
  return lines
}

const ends = () => rig.service.log.filter((line) => line.includes('"stream_end"'))

describe("the slots of exports", () => {
  it("belong to one caller by half, and those of readers that stop reading are free when others want them", async () => {
    const share = MAX_STREAMS / 2
    const stopped = await Promise.all(
      (["one", "two"] as const).flatMap((caller) => Array.from({ length: share }, () => open(caller))),
    )
    expect(stopped.map(({ statusCode }) => statusCode)).toEqual(stopped.map(() => 200))
    expect(await statusOf(await open("one"))).toBe(503)
    // It is refused until a reader has taken nothing for ten seconds while others wanted its slot.
    let next = await open("three")
    expect(next.statusCode).toBe(503)
    await expect
      .poll(
        async () => {
          next.resume()
          next = await open("three")
          return next.statusCode
        },
        { interval: 500 },
      )
      .toBe(200)
    expect(await linesOf(next)).toBe(ROWS)
    await Promise.all(stopped.map((response) => expect(linesOf(response)).rejects.toThrow()))
    const cutOff = ends().filter((line) => line.includes('"cut_off"'))
    expect(cutOff).toHaveLength(stopped.length)
    for (const line of cutOff) expect(line).toContain("the reader took nothing for 10 seconds")
  })
})

describe("the slots of readers that wait for the feed", () => {
  it("belong to one caller by half", async () => {
    const waitFor = (seconds: number) => `/api/signals/feed?after=now&wait=${seconds}`
    const refused: string[] = []
    const waiting = Array.from({ length: MAX_WAITING_READERS }, () => {
      const headers = { Authorization: "Bearer one" }
      const request = get(`${rig.service.address}${waitFor(30)}`, { headers }, async (response) => {
        const body = await text(response)
        if (response.statusCode === 503) refused.push(body)
      })
      // This test ends them.
      request.on("error", () => {})
      return request
    })
    await expect.poll(() => refused.length).toBe(MAX_WAITING_READERS / 2)
    for (const body of refused) expect(body).toContain(`${MAX_WAITING_READERS / 2} of one caller`)
    expect(await statusOf(await open("two", waitFor(1)))).toBe(200)
    for (const request of waiting) request.destroy()
  })
})
