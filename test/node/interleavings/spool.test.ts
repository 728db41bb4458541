import { createHash } from "node:crypto"
import fc from "fast-check"
import { beforeEach, describe, expect, it, vi } from "vitest"
import { BatchProcessor, SignalClient } from "../../../src/client/index.ts"
import { openSpool } from "../../../src/client/spool/spool.ts"
import { type Clock, onClock, pick, SCHEDULES, SEED } from "./clock.ts"
import { asProcess, ModelDisk, type ModelProcess } from "./model-disk.ts"
import { deliverAll, FATES, ModelService, settle } from "./model-service.ts"

const world = vi.hoisted(() => ({ disk: undefined as unknown }))

vi.mock("node:fs/promises", () => {
  const names = ["open", "readdir", "readFile", "rm", "mkdir", "stat", "statfs"] as const
  const call =
    (name: (typeof names)[number]) =>
    (...args: never[]) =>
      (world.disk as Record<string, (...values: never[]) => unknown>)[name]?.(...args)
  const unused = { access: undefined, link: undefined, rename: undefined, writeFile: undefined }
  return { ...unused, ...Object.fromEntries(names.map((name) => [name, call(name)])) }
})
// The lock has tests with real processes of its own.
vi.mock("../../../src/client/spool/lock.ts", () => ({ lockFolder: async () => async () => {} }))

const OPTIONS = { maxCount: 3, maxInFlight: 2, maxBuffered: 8, maxWaitMs: 50, deadlineMs: 2000 }
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("add" as const), count: fc.integer({ min: 1, max: 5 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("end" as const),
      index: fc.nat({ max: 5 }),
      fate: fc.constantFrom(...FATES),
    }),
  },
  fc.record({ kind: fc.constant("advance" as const), ms: fc.integer({ min: 0, max: 3000 }) }),
  fc.record({ kind: fc.constant("kill" as const), steps: fc.integer({ min: 1, max: 12 }) }),
  fc.record({ kind: fc.constant("disk" as const), isFull: fc.boolean() }),
)

/** What the sender was told about a signal; `undefined`: nothing, since its process was killed. */
type Told = "accepted" | "refused" | undefined

/** A program that sends, and that somebody starts again whenever it was killed. */
class Sender {
  readonly told = new Map<string, Told>()
  readonly #service: ModelService
  #process: ModelProcess = { stepsLeft: Number.POSITIVE_INFINITY, isDead: false }
  #processor: BatchProcessor | undefined
  #added = 0

  constructor(service: ModelService) {
    this.#service = service
  }

  get isDead(): boolean {
    return this.#process.isDead
  }

  start(): void {
    const owner: ModelProcess = { stepsLeft: Number.POSITIVE_INFINITY, isDead: false }
    this.#process = owner
    this.#processor = undefined
    asProcess(owner, async () => {
      const client = new SignalClient({
        url: "http://service.test",
        compress: false,
        fetch: (...request) =>
          owner.isDead ? new Promise<never>(() => {}) : this.#service.fetch(...request),
      })
      const spool = await openSpool("/spool", { minFreeBytes: 0 }).catch(() => undefined)
      // On a full disk it may not start, and is started again.
      if (!spool) owner.isDead = true
      else if (!owner.isDead) this.#processor = new BatchProcessor(client, { ...OPTIONS, spool })
    })
  }

  add(count: number): void {
    const processor = this.#processor
    if (!processor) return
    const owner = this.#process
    for (let more = 0; more < count; more++) {
      const text = String(this.#added++)
      this.told.set(text, undefined)
      const tell = (told: Told) => {
        if (!owner.isDead) this.told.set(text, told)
      }
      asProcess(owner, () =>
        processor.add({ context_window_id: "c", raw_content: text }).then(
          () => tell("accepted"),
          () => tell("refused"),
        ),
      )
    }
  }

  killAfter(steps: number): void {
    this.#process.stepsLeft = steps
  }

  /** Flushes until everything that is in the spool is delivered. */
  async finish(clock: Clock): Promise<void> {
    for (let round = 0; this.isDead || !this.#processor; round++) {
      expect(round).toBeLessThan(20)
      if (this.isDead) this.start()
      for (let turn = 0; turn < 20; turn++) await settle(clock)
    }
    this.#process.stepsLeft = Number.POSITIVE_INFINITY
    const processor = this.#processor as BatchProcessor
    await deliverAll(
      clock,
      this.#service,
      asProcess(this.#process, () => processor.flush()),
    )
    await deliverAll(
      clock,
      this.#service,
      asProcess(this.#process, () => processor.close()),
    )
  }
}

beforeEach(() => {
  // A digest is made by a thread, which has no place in a schedule.
  vi.spyOn(crypto.subtle, "digest").mockImplementation(async (_, data) => {
    const bytes = createHash("sha256")
      .update(new Uint8Array(data as ArrayBuffer))
      .digest()
    return new Uint8Array(bytes).buffer
  })
  // Signals that a full disk refuses, and damaged lines.
  vi.spyOn(process, "emitWarning").mockImplementation(() => {})
})

describe("the batch processor with a spool", () => {
  it("stores what it accepted once, killed at any step and on a full disk, in any interleaving", async () => {
    const schedules = fc.array(fc.tuple(step, fc.boolean()), { minLength: 4, maxLength: 40 })
    const property = fc.asyncProperty(schedules, (steps) =>
      onClock(async (clock) => {
        const disk = new ModelDisk()
        world.disk = disk
        const service = new ModelService()
        const sender = new Sender(service)
        sender.start()
        await settle(clock)
        for (const [one, settles] of steps) {
          if (sender.isDead) sender.start()
          if (one.kind === "add") sender.add(one.count)
          else if (one.kind === "end") pick(service.open, one.index)?.end(one.fate)
          else if (one.kind === "advance") await clock.advance(one.ms)
          else if (one.kind === "kill") sender.killAfter(one.steps)
          else disk.isFull = one.isFull
          if (settles) await settle(clock)
        }
        for (let turn = 0; turn < 20; turn++) await settle(clock)
        disk.isFull = false
        await sender.finish(clock)
        const counts = new Map<string, number>()
        for (const text of service.stored) counts.set(text, (counts.get(text) ?? 0) + 1)
        for (const [text, told] of sender.told) {
          const count = counts.get(text) ?? 0
          if (told === "accepted") expect(count, `${text} was accepted`).toBe(1)
          if (told === "refused") expect(count, `${text} was refused`).toBe(0)
          expect(count, text).toBeLessThanOrEqual(1)
        }
      }),
    )
    await fc.assert(property, { numRuns: Math.ceil(SCHEDULES / 4), seed: SEED })
  })
})
