import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { Group, type Joined } from "../../../src/isolate/group.ts"
import { onClock, pick, SCHEDULES, SEED } from "./clock.ts"

const LIMITS = { running: 1, slowMs: 200, items: 3, weight: 10, waiting: 4, turnMs: 500 }
const LONGEST_MS = 1500

const index = fc.nat({ max: 20 })
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("join" as const),
      weight: fc.constantFrom(1, 1, 2, 5, 12),
      answerInMs: fc.integer({ min: 50, max: LONGEST_MS }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("end" as const), index, fails: fc.boolean() }) },
  fc.record({ kind: fc.constant("abort" as const), index }),
  fc.record({ kind: fc.constant("advance" as const), ms: fc.integer({ min: 0, max: 400 }) }),
)

/** A write of several items; one that never ends is that of a request that the runtime has ended. */
interface Statement {
  items: readonly number[]
  countsUntil: number
  end: ((fails: boolean) => void) | undefined
  endedAt?: number
}

interface Request {
  weight: number
  answerBy: number
  controller: AbortController
  outcome: Joined<string> | { error: unknown } | undefined
}

describe("the group commit", () => {
  it("writes each item at most once, and says of each what is true, in any interleaving", async () => {
    const property = fc.asyncProperty(
      fc.array(fc.tuple(step, fc.boolean()), { minLength: 2, maxLength: 40 }),
      (steps) =>
        onClock(async (clock) => {
          const group = new Group<number, string>(LIMITS)
          const statements: Statement[] = []
          const requests: Request[] = []

          const write = (items: readonly number[]) => {
            const [leader = -1] = items
            const answerBy = requests[leader]?.answerBy ?? 0
            const busy = statements.filter(({ end, countsUntil }) => end && countsUntil > clock.now)
            expect(busy.length).toBeLessThan(LIMITS.running)
            expect(items.length).toBeLessThanOrEqual(LIMITS.items)
            const weight = items.reduce((sum, item) => sum + (requests[item]?.weight ?? 0), 0)
            if (items.length > 1) expect(weight).toBeLessThanOrEqual(LIMITS.weight)
            const { promise, resolve, reject } = Promise.withResolvers<string[]>()
            const statement: Statement = {
              items,
              countsUntil: Math.min(answerBy, clock.now + LIMITS.slowMs),
              end: (fails) => {
                statement.end = undefined
                statement.endedAt = clock.now
                if (fails) reject(new Error(`statement of ${leader}`))
                else resolve(items.map((item) => `result of ${item}`))
              },
            }
            statements.push(statement)
            return promise
          }
          const join = (weight: number, answerInMs: number) => {
            const controller = new AbortController()
            const request: Request = {
              weight,
              answerBy: clock.now + answerInMs,
              controller,
              outcome: undefined,
            }
            const item = requests.push(request) - 1
            const { answerBy } = request
            group
              .join({ item, weight, answerBy, signal: controller.signal, run: write })
              .then((outcome) => (request.outcome = outcome))
              .catch((error: unknown) => (request.outcome = { error }))
          }
          for (const [one, settles] of steps) {
            if (one.kind === "join") join(one.weight, one.answerInMs)
            else if (one.kind === "advance") await clock.advance(one.ms)
            else if (one.kind === "abort")
              pick(
                requests.filter(({ outcome }) => !outcome),
                one.index,
              )?.controller.abort()
            else
              pick(
                statements.filter(({ end }) => end),
                one.index,
              )?.end?.(one.fails)
            if (!settles) continue
            await clock.settle()
            const isBusy = statements.some(({ end, countsUntil }) => end && countsUntil > clock.now)
            const waiting = requests.filter(
              ({ outcome }, item) => !outcome && !statements.some(({ items }) => items.includes(item)),
            )
            if (!isBusy) expect(waiting).toEqual([])
          }
          await clock.advance(2 * LONGEST_MS)

          for (const [item, { outcome }] of requests.entries()) {
            const within = statements.filter(({ items }) => items.includes(item))
            expect(within.length).toBeLessThanOrEqual(1)
            const [statement] = within
            const hasGone = statement?.items[0] === item && statement.end !== undefined
            if (hasGone) continue
            expect(outcome).toBeDefined()
            if (statement?.endedAt !== undefined && statement.endedAt < (requests[item]?.answerBy ?? 0))
              expect(outcome).not.toBe("no answer")
            if (outcome === "no turn") expect(within).toEqual([])
            else expect(within).toHaveLength(1)
            if (typeof outcome === "object" && "result" in outcome)
              expect(outcome.result).toBe(`result of ${item}`)
            if (typeof outcome === "object" && "error" in outcome)
              expect(outcome.error).toEqual(new Error(`statement of ${statement?.items[0]}`))
          }
          const before = statements.length
          join(1, LONGEST_MS)
          await clock.settle()
          expect(statements).toHaveLength(before + 1)
        }),
    )
    await fc.assert(property, { numRuns: SCHEDULES, seed: SEED })
  })
})
