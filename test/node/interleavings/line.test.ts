import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { Line, Pause } from "../../../src/isolate/line.ts"
import { onClock, pick, SCHEDULES, SEED } from "./clock.ts"

const CAPACITY = 2
const LONGEST_WAIT_MS = 2000
/** A turn that nobody has confirmed for so long goes to the next waiter. */
const CONFIRM_MS = 250

/** A waiter whose request the runtime has ended never continues after its pause. */
class RequestPause extends Pause {
  hasGone = false
  override async last(ms: number): Promise<void> {
    await super.last(ms)
    if (this.hasGone) await new Promise(() => {})
  }
}

const index = fc.nat({ max: 20 })
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("enter" as const),
      waitMs: fc.integer({ min: 0, max: LONGEST_WAIT_MS }),
      ahead: fc.boolean(),
      most: fc.constantFrom(0, 1, 3, Number.POSITIVE_INFINITY),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("release" as const), index }) },
  fc.record({ kind: fc.constant("abort" as const), index }),
  fc.record({ kind: fc.constant("end request" as const), index }),
  fc.record({ kind: fc.constant("advance" as const), ms: fc.integer({ min: 0, max: 700 }) }),
  fc.record({ kind: fc.constant("jump" as const), ms: fc.integer({ min: 0, max: 700 }) }),
)

interface Entered {
  ahead: boolean
  pause: RequestPause
  controller: AbortController
  /** Undefined while it waits. */
  outcome: { turn: object | undefined } | undefined
  endsAt: number
  most?: number
}

describe("the line", () => {
  it("serves in order of arrival, never more than there is, and loses no turn, in any interleaving", async () => {
    const property = fc.asyncProperty(
      fc.array(fc.tuple(step, fc.boolean()), { minLength: 2, maxLength: 40 }),
      (steps) =>
        onClock(async (clock) => {
          /** When each turn was given. */
          const held = new Map<object, number>()
          const used = new Set<object>()
          const served: number[] = []
          const line = new Line<number, object>({
            take: (want) => {
              if (held.size >= CAPACITY) return undefined
              if (!served.includes(want)) served.push(want)
              const turn = { want }
              held.set(turn, clock.now)
              return turn
            },
            giveBack: (turn) => expect(held.delete(turn)).toBe(true),
          })
          const entered: Entered[] = []
          const enter = ({ waitMs, ahead, most }: { waitMs: number; ahead: boolean; most: number }) => {
            const pause = new RequestPause()
            const controller = new AbortController()
            const one: Entered = { ahead, pause, controller, outcome: undefined, endsAt: clock.now + waitMs }
            const want = entered.push(one) - 1
            void line.enter(want, { waitMs, ahead, most, pause, signal: controller.signal }).then((turn) => {
              one.outcome = { turn }
              if (turn) used.add(turn)
              const isLate =
                !turn &&
                !controller.signal.aborted &&
                most === Number.POSITIVE_INFINITY &&
                clock.now >= one.endsAt
              // It has waited in vain, though a request that has ended kept a turn.
              if (isLate)
                for (const [other, at] of held)
                  expect(used.has(other) || clock.now - at <= CONFIRM_MS).toBe(true)
            })
            one.most = most
          }
          const release = (one: Entered | undefined) => {
            const turn = one?.outcome?.turn
            if (!one || !turn) return
            one.outcome = { turn: undefined }
            expect(held.delete(turn)).toBe(true)
            line.serve()
          }
          for (const [one, settles] of steps) {
            if (one.kind === "enter") enter(one)
            else if (one.kind === "advance") await clock.advance(one.ms)
            else if (one.kind === "jump") clock.jump(one.ms)
            else {
              const using = entered.filter(({ outcome }) => outcome?.turn)
              const waiting = entered.filter(({ outcome, pause }) => !outcome && !pause.hasGone)
              const waiter = pick(waiting, one.index)
              if (one.kind === "release") release(pick(using, one.index))
              else if (one.kind === "abort") waiter?.controller.abort()
              else if (waiter) waiter.pause.hasGone = true
            }
            if (settles) await clock.settle()
            expect(held.size).toBeLessThanOrEqual(CAPACITY)
            if (!settles) continue
            // Nobody waits for a turn that is free, and nobody waits who may not.
            if (held.size < CAPACITY) expect(line.length).toBe(0)
            for (const { most, pause, outcome } of entered)
              if (most === 0 && !pause.hasGone) expect(outcome).toBeDefined()
          }
          for (const one of entered) release(one)
          await clock.advance(2 * LONGEST_WAIT_MS)
          for (const one of entered) if (!one.pause.hasGone) expect(one.outcome).toBeDefined()
          for (const one of entered) release(one)
          await clock.advance(2 * LONGEST_WAIT_MS)
          line.serve()
          // A turn that went to a request that had ended comes back.
          await clock.advance(LONGEST_WAIT_MS)
          line.serve()
          expect([held.size, line.length]).toEqual([0, 0])
          const inLine = served.filter((want) => !entered[want]?.ahead)
          expect(inLine).toEqual(inLine.toSorted((a, b) => a - b))
          for (let more = 0; more < CAPACITY; more++) expect(line.enterAtOnce(-1)).toBeDefined()
        }),
    )
    await fc.assert(property, { numRuns: 2 * SCHEDULES, seed: SEED })
  })
})
