import { createHash } from "node:crypto"
import { connect } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type LocalService, startLocalService } from "../../setup/local-service.ts"
import { type Rig, startRig } from "../../setup/rig.ts"
import { attack, BODIES, LOADS, wrongAnswers } from "./attacks.ts"

/** The heap of an isolate at Cloudflare. V8 ends the process when the Worker needs more. */
const V8_FLAGS = ["--max-heap-size=128"]

/**
 * `ATTACK=long npm run attack` sends every load to `npm start`, too; the short form sends it the bodies
 * alone.
 */
const LONG = process.env.ATTACK === "long"

/**
 * Asks `/healthz` all the time while `work` runs, and returns the longest time of an answer in milliseconds.
 */
async function worstHealth(address: string, work: Promise<unknown>): Promise<number> {
  let working = true
  let worstMs = 0
  const done = work.finally(() => {
    working = false
  })
  while (working) {
    const askedAt = performance.now()
    expect((await fetch(`${address}/healthz`)).status).toBe(200)
    worstMs = Math.max(worstMs, performance.now() - askedAt)
    await Promise.race([done.catch(() => {}), sleep(200)])
  }
  return worstMs
}

async function expectSurvival(address: string, name: string): Promise<void> {
  const make = LOADS[name] ?? BODIES[name]
  if (!make) throw new Error(`no attack has the name ${name}`)
  const attacking = attack(address, make())
  const healthMs = await worstHealth(address, attacking)
  const answers = await attacking
  const counts = Object.entries(Object.groupBy(answers, ({ status }) => status)).map(
    ([status, all]) => `${all?.length} x ${status}`,
  )
  console.log(`${name}: ${counts.join(", ")}; /healthz at worst ${Math.round(healthMs)} ms`)
  expect(wrongAnswers(answers)).toEqual([])
}

describe("the Worker in a heap of 128 MiB", () => {
  let rig: Rig
  beforeAll(async () => {
    rig = await startRig({}, { v8Flags: V8_FLAGS })
  })
  afterAll(() => rig?.stop())

  it.each([...Object.keys(LOADS), ...Object.keys(BODIES)])("answers %s", async (name) =>
    expectSurvival(rig.service.address, name),
  )
})

describe("npm start", () => {
  let service: LocalService
  beforeAll(async () => {
    service = await startLocalService()
  })
  afterAll(() => service?.stop())

  it.each([...(LONG ? Object.keys(LOADS) : []), ...Object.keys(BODIES)])("answers %s", async (name) =>
    expectSurvival(service.address, name),
  )

  it("answers others while 150 bodies come in slowly", async () => {
    const { port } = new URL(service.address)
    const head =
      "POST /api/signals/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{"
    const sockets = Array.from({ length: 150 }, () =>
      connect(Number(port), "localhost").on("error", () => {}),
    )
    for (const socket of sockets) socket.write(head)
    try {
      const healthMs = await worstHealth(service.address, sleep(3000))
      console.log(`150 slow bodies: /healthz at worst ${Math.round(healthMs)} ms`)
    } finally {
      for (const socket of sockets) socket.destroy()
    }
    expect((await fetch(`${service.address}/healthz`)).status).toBe(200)
  })
})

describe("npm start with a key", () => {
  const KEY = "the-right-key"
  const API_KEYS = JSON.stringify([
    { name: "app", sha256: createHash("sha256").update(KEY).digest("hex"), scopes: ["ingest", "read"] },
  ])
  const [REQUESTS, AT_ONCE, LONGEST_MS] = [5000, 50, 20_000]

  let service: LocalService
  beforeAll(async () => {
    service = await startLocalService({ API_KEYS })
  })
  afterAll(() => service?.stop())

  const withKey = async (key: string) => {
    const response = await fetch(`${service.address}/api/signals?limit=1`, {
      headers: { Authorization: `Bearer ${key}` },
    })
    await response.arrayBuffer()
    return response.status
  }

  it("refuses wrong keys at full rate, and answers the right one when the limit of the address has passed", async () => {
    const counts = new Map<number, number>()
    let sent = 0
    const startedAt = performance.now()
    const guess = async () => {
      while (sent < REQUESTS && performance.now() - startedAt < LONGEST_MS) {
        const status = await withKey(`wrong-${sent++}`)
        counts.set(status, (counts.get(status) ?? 0) + 1)
      }
    }
    const guessing = Promise.all(Array.from({ length: AT_ONCE }, guess))
    const healthMs = await worstHealth(service.address, guessing)
    const rate = Math.round(sent / ((performance.now() - startedAt) / 1000))
    const shown = [...counts].map(([status, count]) => `${count} x ${status}`).join(", ")
    console.log(`wrong keys: ${rate}/s, ${shown}; /healthz at worst ${Math.round(healthMs)} ms`)
    expect([...counts.keys()].filter((status) => status !== 401 && status !== 429)).toEqual([])
    await expect.poll(() => withKey(KEY), { interval: 1000 }).toBe(200)
  })
})
