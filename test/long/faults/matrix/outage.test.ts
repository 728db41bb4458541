import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { setImmediate as turn } from "node:timers/promises"
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { BatchProcessor, SignalClient, type Undelivered } from "../../../../src/client/index.ts"
import { openSpool, type Spool } from "../../../../src/client/spool/spool.ts"
import { storedNumbers, upTo, useEmptyTables, useFolder, useRig } from "../../../setup/hooks/rig.ts"

/**
 * The library with its default options, through outages of many minutes: clock and timers of the library are
 * simulated, the service, the network and the disk are real.
 */
const rig = useRig()
const folder = useFolder()
useEmptyTables(rig)

const MINUTE_MS = 60_000
const STEP_MS = 500
const signal = (index: number) => ({ context_window_id: "conv-outage", raw_content: String(index) })

/** How the service is away: nothing listens, or something else answers. */
const WAYS = {
  "nothing listens": () => "http://127.0.0.1:2",
  "a proxy answers 502": () => `${proxy.address}/502`,
  "a proxy answers 401": () => `${proxy.address}/401`,
  "a proxy answers 404": () => `${proxy.address}/404`,
  "a page answers 200": () => `${proxy.address}/200`,
  "a login page redirects": () => `${proxy.address}/302`,
}
const proxy = { address: "" }
const server = createServer((request, response) => {
  request.resume()
  response.writeHead(Number(request.url?.slice(1)), { Location: "/login" }).end("<html>away</html>")
})
let running = 0
let endsAt = 0
let underWay = 0
let calls = 0
/** Calls at once, at most. */
let most = 0

beforeEach(async () => {
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  proxy.address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  calls = 0
  most = 0
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] })
})
afterEach(async () => {
  vi.useRealTimers()
  server.closeAllConnections()
  server.close()
  await once(server, "close")
})

/** Counts real work, during which simulated time stands still. */
async function real<Value>(work: Promise<Value>): Promise<Value> {
  running++
  try {
    return await work
  } finally {
    running--
  }
}

/** With its body, so that nothing real is left to do. */
async function fetchWhole(
  url: Parameters<typeof fetch>[0],
  init: RequestInit | undefined,
): Promise<Response> {
  const { status, headers, body } = await fetch(url, init)
  return new Response(await new Response(body).arrayBuffer(), { status, headers })
}

/** Reaches the service only when the outage is over. */
const clientThrough = (way: keyof typeof WAYS) =>
  new SignalClient({
    url: rig.service.address,
    // Compression works beside the simulated clock.
    compress: false,
    async fetch(url, init) {
      const isAway = performance.now() < endsAt
      calls += isAway ? 1 : 0
      most = Math.max(most, ++underWay)
      return real(fetchWhole(isAway ? WAYS[way]() : url, init)).finally(() => underWay--)
    },
  })

/** A spool on disk, whose work is real. */
async function countedSpool(): Promise<Spool> {
  const spool = await openSpool(folder.path)
  return {
    recover: () => real(spool.recover()),
    append: (signal) => real(spool.append(signal)),
    cut: (key, count, caller) => real(spool.cut(key, count, caller)),
    read: (key) => real(spool.read(key)),
    done: (key) => real(spool.done(key)),
    close: () => real(spool.close()),
  }
}

/** Lets simulated time pass until the work is done; it stands still while a real call is under way. */
async function pass(work: Promise<unknown>, atMostMs: number): Promise<number> {
  const began = performance.now()
  let isDone = false
  const done = () => {
    isDone = true
  }
  work.then(done, done)
  while (!isDone && performance.now() - began < atMostMs) {
    // Real work needs turns of the real event loop, and begins a turn or two after what it follows.
    for (let quiet = 0; quiet < 10 && !isDone; quiet = running > 0 ? 0 : quiet + 1) await turn()
    if (!isDone) await vi.advanceTimersByTimeAsync(STEP_MS)
  }
  expect(isDone, "it is not done in time").toBe(true)
  await work
  return performance.now() - began
}

describe.each([
  ["in memory", false],
  ["with a spool", true],
])("the library %s", (_, hasSpool) => {
  const undelivered: Undelivered[] = []
  const open = async (way: keyof typeof WAYS) => {
    undelivered.length = 0
    const processor = new BatchProcessor(clientThrough(way), {
      ...(hasSpool && { spool: await countedSpool() }),
      onUndelivered: (batch) => undelivered.push(batch),
    })
    // Its caller's name is a hash, which takes real time.
    if (endsAt > 0) await processor.add(signal(0))
    return processor
  }

  it.each([
    ["nothing listens", 2],
    ["nothing listens", 10],
    ["nothing listens", 60],
    ["a proxy answers 502", 10],
    ["a proxy answers 401", 10],
    ["a proxy answers 404", 10],
    ["a page answers 200", 10],
    ["a login page redirects", 10],
  ] as const)(
    "stores every accepted signal once, although %s for %d minutes",
    { timeout: 180_000 },
    async (way, minutes) => {
      endsAt = performance.now() + minutes * MINUTE_MS
      const processor = await open(way)
      for (const index of upTo(250).slice(1)) await pass(processor.add(signal(index)), MINUTE_MS)
      const tookMs = await pass(processor.flush(), (minutes + 3) * MINUTE_MS)
      expect(await storedNumbers(rig)).toEqual(upTo(250))
      // A pause is at most a minute, an attempt 30 s.
      expect(tookMs).toBeGreaterThan((minutes - 1) * MINUTE_MS)
      // It did try, and no more than maxInFlight at once.
      expect(calls).toBeGreaterThan(minutes)
      expect(most).toBeLessThanOrEqual(4)
      await pass(processor.close(), MINUTE_MS)
      expect(undelivered).toEqual([])
      expect(await storedNumbers(rig)).toEqual(upTo(250))
    },
  )

  it("reports at close what it could not send, and keeps it in the spool for the next run", async () => {
    endsAt = Number.POSITIVE_INFINITY
    const processor = await open("nothing listens")
    for (const index of upTo(250).slice(1)) await pass(processor.add(signal(index)), MINUTE_MS)
    expect(await pass(processor.close(), 2 * MINUTE_MS)).toBeLessThanOrEqual(MINUTE_MS + STEP_MS)
    expect(undelivered.reduce((sum, { count }) => sum + count, 0)).toBe(250)
    for (const { kept, error } of undelivered) {
      expect(kept).toBe(hasSpool)
      expect(error.message).toMatch(/closeDeadlineMs \(60000 ms\); the last answer: .*ECONNREFUSED/)
    }
    const lost = undelivered.flatMap(({ signals }) => signals)
    expect(lost).toHaveLength(hasSpool ? 0 : 250)
    endsAt = 0
    const next = await open("nothing listens")
    for (const one of lost) await pass(next.add(one), MINUTE_MS)
    await pass(next.close(), MINUTE_MS)
    expect(await storedNumbers(rig)).toEqual(upTo(250))
  })
})

describe("the library in memory", () => {
  it("retries a batch until giveUpMs, a day by default, and then gives it up", {
    timeout: 180_000,
  }, async () => {
    endsAt = Number.POSITIVE_INFINITY
    const undelivered: Undelivered[] = []
    const processor = new BatchProcessor(clientThrough("a proxy answers 401"), {
      onUndelivered: (batch) => undelivered.push(batch),
      giveUpMs: 20 * MINUTE_MS,
    })
    await processor.add(signal(0))
    const tookMs = await pass(processor.flush(), 30 * MINUTE_MS)
    expect(tookMs).toBeGreaterThanOrEqual(20 * MINUTE_MS)
    expect(undelivered).toMatchObject([
      { count: 1, kept: false, signals: [signal(0)], error: { name: "UnauthorizedError", status: 401 } },
    ])
    await processor.close()
  })

  it("waits for Retry-After, and tells onRetry of each wait", async () => {
    endsAt = performance.now() + MINUTE_MS
    const waits: number[] = []
    const client = new SignalClient({
      url: rig.service.address,
      fetch: async (url, init) =>
        performance.now() < endsAt
          ? new Response("{}", { status: 503, headers: { "Retry-After": "90" } })
          : real(fetchWhole(url, init)),
    })
    const processor = new BatchProcessor(client, { onRetry: ({ waitMs }) => waits.push(waitMs) })
    await processor.add(signal(0))
    expect(await pass(processor.flush(), 3 * MINUTE_MS)).toBeGreaterThanOrEqual(90_000)
    expect(waits).toEqual([90_000])
    await processor.close()
    expect(await storedNumbers(rig)).toEqual([0])
  })
})
