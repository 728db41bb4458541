import { afterEach, beforeEach, describe, expect, inject, it } from "vitest"
import { descendants, signalAll } from "../../setup/processes.ts"
import { type QueuedBundle, runQueuedBundle } from "../../setup/queued-bundle.ts"
import { seededRandom } from "../../setup/random.ts"
import { type Storage, startStorage } from "../../setup/rig.ts"
import { type ReceivedCall, type Receiver, type Reply, startReceiver } from "../../setup/vitest/receiver.ts"

const SEED = Number(process.env.SEED ?? 20_261_201)

/** The cron trigger of the deliveries. */
const EVERY_MINUTE = "* * * * *"

/** Batches that are stored during a mishap, and the signals of each; every second signal is flagged. */
const BATCHES = 12
const SIZE = 30

let storage: Storage
let service: QueuedBundle
let receiver: Receiver

const start = () =>
  runQueuedBundle(inject("bundle"), {
    ...storage.bindings,
    DATABASE_DEADLINE_MS: "2000",
    SUBSCRIPTION_SECRET: "a-secret-of-the-tests-for-sealing-only",
    SUBSCRIPTION_LOCAL_RECEIVERS: "true",
  })

beforeEach(async () => {
  storage = await startStorage()
  receiver = await startReceiver()
  service = await start()
})
afterEach(async () => {
  await service?.stop()
  await receiver?.stop()
  await storage?.stop()
})

async function post(path: string, body: object): Promise<Response> {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID() }
  for (;;) {
    const response = await fetch(service.address + path, {
      method: "POST",
      headers,
      body: JSON.stringify(body),
    }).catch(() => undefined)
    if (response && response.status < 500) return response
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

const subscribe = (name: string, filter: object) =>
  post("/api/subscriptions", { name, url: receiver.at(name), filter })

/** Ends workerd as a crash does, and starts another. What it had leased is free, since nobody works on it. */
async function crash(): Promise<void> {
  for (const { pid, command } of await descendants(process.pid))
    if (command.includes("workerd serve")) process.kill(pid, "SIGKILL")
  await service.stop()
  service = await start()
  await storage.query("update subscriptions set lease_until = now()")
}

const freeze = (signal: NodeJS.Signals) => signalAll(storage.postgres.pid, signal)

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** What goes wrong once for each batch. */
const MISHAPS: Record<string, () => Promise<void> | void> = {
  nothing: () => {},
  "the database's answers are lost": () => {
    storage.endpoint.faults.loseAnswers = 4
  },
  "the database's answers are cut": () => {
    storage.endpoint.faults.spoil = ["cut", "cut", "cut"]
  },
  "the database is killed": async () => {
    await storage.postgres.kill()
    await pause(300)
    await storage.postgres.restart()
  },
  "the database is frozen": async () => {
    await freeze("SIGSTOP")
    await pause(2500)
    await freeze("SIGCONT")
  },
  "the Worker is killed": crash,
  "the Worker stops in order": async () => {
    await service.stop()
    service = await start()
    await storage.query("update subscriptions set lease_until = now()")
  },
}

const REPLIES: Reply[] = [
  {},
  { status: 500 },
  { status: 307, headers: { Location: "/in/elsewhere" } },
  { after: "close" },
  { after: "endless" },
  { after: "lost" },
  { after: "dead" },
  { delayMs: 300 },
]

/** Each retry would wait for 5 seconds and more. */
const hurry = () =>
  storage
    .query("update subscriptions set next_attempt_at = now() where next_attempt_at is not null")
    .catch(() => {})

interface Delivered {
  id: number
  raw_content: string
  escalate_flag: number
}

const signalsOf = ({ body }: ReceivedCall) => (JSON.parse(body) as { signals: Delivered[] }).signals

/** What must hold of the calls that a receiver got, whatever happened. */
function check(calls: readonly ReceivedCall[], expected: readonly string[]): void {
  const accepted = calls.filter(({ isAccepted }) => isAccepted).flatMap(signalsOf)
  const first = [...new Set(accepted.map(({ raw_content }) => raw_content))]
  // Every one, none else, and in the order of their commits.
  expect(first).toEqual(expected)
  const bodies = Map.groupBy(calls, ({ headers }) => headers["webhook-id"])
  for (const [, same] of bodies) expect(new Set(same.map(({ body }) => body)).size).toBe(1)
  const ids = new Map<number, Set<string>>()
  for (const call of calls)
    for (const { id } of signalsOf(call))
      ids.set(id, (ids.get(id) ?? new Set()).add(call.headers["webhook-id"] ?? ""))
  expect([...ids.values()].filter(({ size }) => size > 1)).toEqual([])
}

describe("subscriptions", () => {
  it.each(Object.keys(MISHAPS))(
    `deliver every signal in order, each under one id, while receivers fail and %s (seed ${SEED})`,
    async (mishap) => {
      const random = seededRandom(SEED)
      await subscribe("well", {})
      await subscribe("failing", {})
      await subscribe("flagged", { escalate_flag: 1 })
      const replies = () =>
        Array.from({ length: 25 }, () => REPLIES[Math.floor(random() * REPLIES.length)] ?? {})
      receiver.reply("failing", replies())
      receiver.reply("flagged", replies())

      let isDone = false
      const deliver = async () => {
        while (!isDone) {
          await hurry()
          // A Worker that is gone cannot run its cron.
          await service.runCron(EVERY_MINUTE).catch(() => {})
          await pause(20)
        }
      }
      const runs = [deliver(), deliver()]
      const expected: string[] = []
      for (let batch = 0; batch < BATCHES; batch++) {
        const signals = Array.from({ length: SIZE }, (_, index) => ({
          context_window_id: "all",
          raw_content: `${batch}-${index}`,
          escalate_flag: index % 2,
        }))
        expected.push(...signals.map(({ raw_content }) => raw_content))
        const stored = post("/api/signals/batch", { signals })
        if (batch % 4 === 1) await MISHAPS[mishap]?.()
        expect((await stored).status).toBe(200)
      }
      const flagged = expected.filter((content) => Number(content.split("-")[1]) % 2 === 1)
      const wanted = { well: expected, failing: expected, flagged }
      await expect
        .poll(async () => {
          const rows = await storage.query<{ name: string; delivered: number }>(
            "select name, delivered_signals::int4 as delivered from subscriptions order by name",
          )
          return Object.fromEntries(rows.map(({ name, delivered }) => [name, delivered]))
        })
        .toEqual({ well: expected.length, failing: expected.length, flagged: flagged.length })
      isDone = true
      await Promise.all(runs)
      for (const [name, contents] of Object.entries(wanted)) check(receiver.calls(name), contents)
      expect(receiver.calls("failing").length).toBeGreaterThan(0)
    },
  )
})

describe("a Worker that is frozen in the middle of a call, longer than its lease", () => {
  it.each<[string, Reply]>([
    ["accepted", { delayMs: 1000 }],
    ["refused", { status: 500, delayMs: 1000 }],
    ["lost", { after: "lost" }],
  ])("moves nothing when it goes on, though its call is %s", async (_, reply) => {
    await subscribe("frozen", {})
    const contents = Array.from({ length: 3 * SIZE }, (_, index) => String(index))
    const store = (part: number) =>
      post("/api/signals/batch", {
        signals: contents
          .slice(part * SIZE, (part + 1) * SIZE)
          .map((raw_content) => ({ context_window_id: "all", raw_content })),
      })
    const stateOf = async () =>
      (
        await storage.query<{ position: string; delivered: number; failed: number; pending: unknown }>(
          `select concat(position_xid, ' ', position_transaction_id, ' ', position_id) as position,
             delivered_signals::int4 as delivered, failed_attempts as failed, pending from subscriptions`,
        )
      )[0]
    await store(0)
    receiver.reply("frozen", [reply])
    const frozen = (await descendants(process.pid)).filter(({ command }) => command.includes("workerd serve"))
    const call = service.runCron(EVERY_MINUTE).catch(() => {})
    await expect.poll(() => receiver.calls("frozen").length).toBe(1)
    for (const { pid } of frozen) process.kill(pid, "SIGSTOP")
    // Its lease of a minute ends.
    await storage.query("update subscriptions set lease_until = now(), next_attempt_at = null")
    const former = service
    service = await start()
    try {
      await store(1)
      await service.runCron(EVERY_MINUTE)
      await expect.poll(stateOf).toMatchObject({ delivered: 2 * SIZE, failed: 0, pending: null })
      const moved = await stateOf()
      for (const { pid } of frozen) process.kill(pid, "SIGCONT")
      await call
      expect(await stateOf()).toEqual(moved)
      await store(2)
      await service.runCron(EVERY_MINUTE)
      await expect.poll(stateOf).toMatchObject({ delivered: 3 * SIZE, failed: 0, pending: null })
    } finally {
      await former.stop()
    }
    const calls = receiver.calls("frozen")
    // The range that was under way is sent again, whatever became of it: under the same id, with the same
    // body.
    expect(new Set(calls.slice(0, 2).map(({ headers }) => headers["webhook-id"])).size).toBe(1)
    check(calls, contents)
  })
})
