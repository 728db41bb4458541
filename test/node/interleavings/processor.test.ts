import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { BatchProcessor, SignalClient } from "../../../src/client/index.ts"
import { onClock, pick, SCHEDULES, SEED } from "./clock.ts"
import { deliverAll, FATES, ModelService, settle } from "./model-service.ts"

const OPTIONS = { maxCount: 3, maxInFlight: 2, maxBuffered: 8, maxWaitMs: 50, deadlineMs: 2000 }

const step = fc.oneof(
  {
    weight: 3,
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
  fc.record({ kind: fc.constant("flush" as const) }),
)

describe("the batch processor", () => {
  it("stores each accepted signal once, whatever becomes of each request, in any interleaving", async () => {
    const schedules = fc.array(fc.tuple(step, fc.boolean()), { minLength: 2, maxLength: 40 })
    const property = fc.asyncProperty(schedules, (steps) =>
      onClock(async (clock) => {
        const service = new ModelService()
        const client = new SignalClient({ url: "http://service.test", fetch: service.fetch })
        const undelivered: Error[] = []
        const processor = new BatchProcessor(client, {
          ...OPTIONS,
          onUndelivered: ({ error }) => undelivered.push(error),
        })
        let added = 0
        const adding: Promise<void>[] = []
        for (const [one, settles] of steps) {
          if (one.kind === "add")
            for (let more = 0; more < one.count; more++)
              adding.push(processor.add({ context_window_id: "c", raw_content: String(added++) }))
          else if (one.kind === "end") pick(service.open, one.index)?.end(one.fate)
          else if (one.kind === "flush") processor.flush().catch(() => {})
          else await clock.advance(one.ms)
          if (settles) await settle(clock)
        }
        await deliverAll(clock, service, Promise.all([...adding, processor.flush()]))
        await deliverAll(clock, service, processor.close())
        expect(undelivered).toEqual([])
        const expected = Array.from({ length: added }, (_, index) => String(index))
        expect(service.stored.toSorted((a, b) => Number(a) - Number(b))).toEqual(expected)
        expect(service.mostOpen).toBeLessThanOrEqual(OPTIONS.maxInFlight)
      }),
    )
    await fc.assert(property, { numRuns: SCHEDULES, seed: SEED })
  })
})
