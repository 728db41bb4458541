import { describe, expect, it } from "vitest"
import { StatementGate } from "../../../src/isolate/statement-gate.ts"

const entry = (more: Partial<Parameters<StatementGate["enter"]>[0]> = {}) => ({
  waitMs: 10_000,
  longestMs: () => 60_000,
  ahead: false,
  ...more,
})

describe("a gate", () => {
  it("admits its limit at once, and the next when one has left", async () => {
    const gate = new StatementGate({ running: 2, waiting: 10 })
    const first = await gate.enter(entry())
    await gate.enter(entry())
    expect(await gate.enter(entry({ waitMs: 20 }))).toBeUndefined()
    const next = gate.enter(entry())
    first?.()
    expect(await next).toBeDefined()
  })

  it("admits waiters in order of arrival, and started requests before all others", async () => {
    const gate = new StatementGate({ running: 1, waiting: 10 })
    const order: string[] = []
    const pass = (name: string, ahead = false) =>
      gate.enter(entry({ ahead })).then((leave) => {
        order.push(name)
        leave?.()
      })
    const held = await gate.enter(entry())
    const passed = [pass("one"), pass("two"), pass("three"), pass("begun", true), pass("also begun", true)]
    held?.()
    await Promise.all(passed)
    expect(order).toEqual(["begun", "also begun", "one", "two", "three"])
  })

  it("refuses a request at once when the line is full, but not a started one", async () => {
    const gate = new StatementGate({ running: 1, waiting: 1 })
    const held = await gate.enter(entry())
    const waiting = gate.enter(entry())
    expect(await gate.enter(entry())).toBeUndefined()
    const begun = gate.enter(entry({ ahead: true }))
    held?.()
    const leave = await begun
    leave?.()
    expect(await waiting).toBeDefined()
  })

  it("frees the turn of a statement that must have ended after the runtime ended its request", async () => {
    const gate = new StatementGate({ running: 1, waiting: 1 })
    await gate.enter(entry({ longestMs: () => 30 }))
    expect(await gate.enter(entry({ waitMs: 60 }))).toBeDefined()
  })

  it("serves the owner with the fewest statements first, and nobody's as one owner's", async () => {
    const gate = new StatementGate({ running: 2, waiting: 10 })
    const order: string[] = []
    const pass = (owner?: string) =>
      gate.enter(entry({ owner })).then((leave) => {
        order.push(String(owner))
        return leave
      })
    const [first, second] = [await pass("a"), await pass("a")]
    const waiting = [pass("a"), pass("b"), pass(), pass("b"), pass("a")]
    first?.()
    for (const one of [1, 2, 3, 0]) (await waiting[one])?.()
    second?.()
    await waiting[4]
    expect(order.slice(2)).toEqual(["b", "undefined", "b", "a", "a"])
  })

  it("lets at most half of the waiters be of one owner, except for started requests", async () => {
    const gate = new StatementGate({ running: 1, waiting: 4 })
    const held = await gate.enter(entry({ owner: "a" }))
    const waiting = [gate.enter(entry({ owner: "a" })), gate.enter(entry({ owner: "a" }))]
    expect(await gate.enter(entry({ owner: "a" }))).toBeUndefined()
    const others = [gate.enter(entry({ owner: "b" })), gate.enter(entry())]
    expect(gate.isFull).toBe(true)
    const begun = gate.enter(entry({ owner: "a", ahead: true }))
    held?.()
    for (const one of [begun, ...waiting, ...others]) {
      const leave = await one
      expect(leave).toBeDefined()
      leave?.()
    }
  })
})
