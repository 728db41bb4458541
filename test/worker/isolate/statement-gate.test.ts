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
})
