import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { ByteBudget, type Claim, newClaim } from "../../../src/isolate/byte-budget.ts"
import { onClock, pick, SCHEDULES, SEED } from "./clock.ts"

const BYTES = 100
const WAIT_MS = 500
const CLAIM_MS = 3000
const SMALL = { largestBytes: 20, bytes: 40, claims: 3 }
const LANES = [SMALL, { largestBytes: BYTES, bytes: BYTES }]

const index = fc.nat({ max: 20 })
const bytes = fc.integer({ min: 1, max: 60 })
const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("begin" as const),
      bytes,
      owner: fc.constantFrom("a", "b", undefined),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("grow" as const), index, bytes }) },
  fc.record({ kind: fc.constant("shrink" as const), index, bytes }),
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("release" as const), index }) },
  fc.record({ kind: fc.constant("abort" as const), index }),
  fc.record({ kind: fc.constant("advance" as const), ms: fc.integer({ min: 0, max: 900 }) }),
)

type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never

/** A body waited for bytes that one of another lane had given back, until its own time was over. */
const FOUND: [step: Step, settles: boolean][] = [
  [{ kind: "begin", bytes: 1, owner: "a" }, false],
  [{ kind: "begin", bytes: 1, owner: "b" }, true],
  [{ kind: "grow", index: 1, bytes: 44 }, false],
  [{ kind: "release", index: 0 }, false],
  [{ kind: "grow", index: 0, bytes: 56 }, false],
  [{ kind: "abort", index: 1 }, true],
]

interface Holder {
  claim: Claim
  controller: AbortController
  isWaiting: boolean
  /** The lane in which it began. */
  began?: "small" | "large"
  /** What it waits for. */
  wants?: number
}

const isSmall = ({ wants = 0 }: Holder) => wants <= SMALL.largestBytes

/** Whether the lane of a body that has not begun has room for it, and the budget too. */
function hasRoom(holder: Holder, holders: readonly Holder[]): boolean {
  const begun = holders.filter(({ claim }) => claim.bytes > 0)
  const sum = (of: readonly Holder[]) => of.reduce((bytes, { claim }) => bytes + claim.bytes, 0)
  const wants = holder.wants ?? 0
  if (sum(begun) + wants > BYTES) return false
  const lane = begun.filter(({ began }) => began === (isSmall(holder) ? "small" : "large"))
  return !isSmall(holder) || (sum(lane) + wants <= SMALL.bytes && lane.length < SMALL.claims)
}

/**
 * Whether a body waits to begin though there is room for it, its owner has nothing, and all that wait beside
 * it only wait for their own owner.
 */
function waitsInVain(holder: Holder, holders: readonly Holder[]): boolean {
  const waiting = holders.filter(({ isWaiting }) => isWaiting)
  if (!holder.isWaiting || waiting.some(({ claim }) => claim.bytes > 0)) return false
  const { owner } = holder.claim
  const hasNothing = holders.every(({ claim }) => claim.bytes === 0 || claim.owner !== owner)
  return hasNothing && waiting.every((one) => hasRoom(one, holders))
}

describe("the budget of bytes", () => {
  it.each([true, false])(
    "counts every byte once, ends every wait, and is free at the end, in any interleaving (grows freely: %s)",
    async (growsFreely) => {
      const property = fc.asyncProperty(
        fc.array(fc.tuple(step, fc.boolean()), { minLength: 2, maxLength: 40 }),
        (steps) =>
          onClock(async (clock) => {
            const budget = new ByteBudget({
              bytes: BYTES,
              lanes: LANES,
              growsFreely,
              waiters: 5,
              waitMs: WAIT_MS,
              claimMs: CLAIM_MS,
            })
            const holders: Holder[] = []
            const grow = (holder: Holder, more: number) => {
              // A request waits for one thing at a time.
              if (holder.isWaiting) return
              holder.isWaiting = true
              holder.wants = more
              const before = holder.claim.bytes
              const since = clock.now
              void budget.grow(holder.claim, more, holder.controller.signal).then((grown) => {
                holder.isWaiting = false
                expect(clock.now - since).toBeLessThanOrEqual(WAIT_MS)
                if (!grown) expect(holder.claim.bytes).toBeLessThanOrEqual(before)
                if (grown && before === 0) holder.began = isSmall(holder) ? "small" : "large"
              })
            }
            for (const [one, settles] of steps) {
              if (one.kind === "begin") {
                const holder = {
                  claim: newClaim(one.owner),
                  controller: new AbortController(),
                  isWaiting: false,
                }
                holders.push(holder)
                grow(holder, one.bytes)
              } else if (one.kind === "advance") await clock.advance(one.ms)
              else {
                const isFor = ({ isWaiting }: Holder) => isWaiting === (one.kind === "abort")
                const holder = pick(holders.filter(isFor), one.index)
                if (!holder) continue
                if (one.kind === "grow") grow(holder, one.bytes)
                else if (one.kind === "abort") holder.controller.abort()
                else if (one.kind === "release") budget.release(holder.claim)
                else if (one.kind === "shrink") budget.shrink(holder.claim, one.bytes)
              }
              if (settles) await clock.settle()
              expect(budget.held).toBe(holders.reduce((sum, { claim }) => sum + claim.bytes, 0))
              if (growsFreely) expect(budget.held).toBeLessThanOrEqual(BYTES)
              if (!settles) continue
              const small = holders.filter(({ claim, began }) => began === "small" && claim.bytes > 0)
              expect(small.length).toBeLessThanOrEqual(SMALL.claims)
              for (const holder of holders) expect(waitsInVain(holder, holders)).toBe(false)
              for (const { claim } of holders) expect(claim.bytes).toBeGreaterThanOrEqual(0)
            }
            await clock.advance(2 * WAIT_MS)
            expect(holders.filter(({ isWaiting }) => isWaiting)).toEqual([])
            for (const { claim } of holders) budget.release(claim)
            expect([budget.held, budget.waiting]).toEqual([0, 0])
            expect(budget.growAtOnce(newClaim(), BYTES)).toBe(true)
          }),
      )
      await fc.assert(property, { numRuns: SCHEDULES, seed: SEED, examples: [[FOUND]] })
    },
  )
})
