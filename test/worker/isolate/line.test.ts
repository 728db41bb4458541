import fc from "fast-check"
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { Line, Pause } from "../../../src/isolate/line.ts"

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] })
})
afterEach(() => {
  vi.useRealTimers()
})

interface Turn {
  owner: string
}

/** A line for a bounded number of turns; each has the name of its owner. */
function lineOf(most: number) {
  const taken = new Set<Turn>()
  const line = new Line<string, Turn>({
    take(owner) {
      if (taken.size >= most) return undefined
      const turn = { owner }
      taken.add(turn)
      return turn
    },
    giveBack: (turn) => taken.delete(turn),
  })
  const end = (turn: Turn) => {
    taken.delete(turn)
    line.serve()
  }
  return { line, taken, end }
}

/** The runtime ends a request: what it waits for never continues. */
class EndedRequest extends Pause {
  override last(): Promise<void> {
    return new Promise(() => {})
  }
}

/** A request that the runtime continues late. */
class LateRequest extends Pause {
  readonly #lateMs: number

  constructor(lateMs: number) {
    super()
    this.#lateMs = lateMs
  }

  override async last(ms: number): Promise<void> {
    await super.last(ms)
    await new Promise((resolve) => setTimeout(resolve, this.#lateMs))
  }
}

describe("a pause", () => {
  it("ends when another request ends it, and leaves no timer", async () => {
    const pause = new Pause()
    const lasting = pause.last(60_000)
    pause.end()
    await lasting
    expect(vi.getTimerCount()).toBe(0)
  })

  it("ends after its time", async () => {
    const lasting = new Pause().last(1000).then(() => Date.now())
    const from = Date.now()
    await vi.advanceTimersByTimeAsync(1000)
    expect((await lasting) - from).toBe(1000)
  })

  it("ends as soon as it begins when it was ended before, and can be used again", async () => {
    const pause = new Pause()
    pause.end()
    await pause.last(60_000)
    const again = pause.last(1000)
    expect(vi.getTimerCount()).toBe(1)
    await vi.advanceTimersByTimeAsync(1000)
    await again
  })
})

describe("a line", () => {
  it("wakes each waiter with one event, and does not poll", async () => {
    const take = vi.fn((owner: string): Turn | undefined => (owner === "first" ? { owner } : undefined))
    const line = new Line<string, Turn>({ take, giveBack: () => {} })
    await line.enter("first", { waitMs: 60_000 })
    for (let number = 0; number < 300; number++) void line.enter(`${number}`, { waitMs: 60_000 })
    const taken = take.mock.calls.length
    await vi.advanceTimersByTimeAsync(59_000)
    expect([take.mock.calls.length, vi.getTimerCount()]).toEqual([taken, 300])
  })

  it("has room for a bounded number of waiters, and always for those that go ahead", async () => {
    const { line } = lineOf(1)
    await line.enter("first", { waitMs: 1000 })
    const waits = line.enter("second", { waitMs: 1000, most: 1 })
    expect(await line.enter("third", { waitMs: 1000, most: 1 })).toBeUndefined()
    const ahead = line.enter("fourth", { waitMs: 1000, ahead: true })
    expect(line.length).toBe(2)
    await vi.advanceTimersByTimeAsync(1000)
    expect(await Promise.all([waits, ahead])).toEqual([undefined, undefined])
    expect(line.length).toBe(0)
  })

  it("is not entered by a client that has disconnected", async () => {
    const { line, taken } = lineOf(1)
    expect(await line.enter("gone", { waitMs: 1000, signal: AbortSignal.abort() })).toBeUndefined()
    expect(taken.size).toBe(0)
  })

  it("returns a turn when the client disconnects between its event and its request", async () => {
    const { line, end } = lineOf(1)
    const first = (await line.enter("first", { waitMs: 1000 })) as Turn
    const client = new AbortController()
    const gone = line.enter("second", { waitMs: 1000, signal: client.signal })
    const third = line.enter("third", { waitMs: 1000 })
    end(first)
    client.abort()
    expect([await gone, (await third)?.owner]).toEqual([undefined, "third"])
  })

  it("gives the turn of a request that the runtime has ended to the next one", async () => {
    const { line, end } = lineOf(1)
    const first = (await line.enter("first", { waitMs: 1000 })) as Turn
    void line.enter("ended", { waitMs: 1000, pause: new EndedRequest() })
    const next = line.enter("next", { waitMs: 1000 })
    end(first)
    await vi.advanceTimersByTimeAsync(1000)
    expect((await next)?.owner).toBe("next")
  })

  it("gives that turn to the next one as soon as any request arrives", async () => {
    const { line, end } = lineOf(1)
    const first = (await line.enter("first", { waitMs: 1000 })) as Turn
    void line.enter("ended", { waitMs: 60_000, pause: new EndedRequest() })
    const next = line.enter("next", { waitMs: 60_000 })
    end(first)
    await vi.advanceTimersByTimeAsync(300)
    void line.enter("newcomer", { waitMs: 60_000 })
    expect((await next)?.owner).toBe("next")
  })

  it("gives a late request the next turn", async () => {
    const { line, end } = lineOf(1)
    const first = (await line.enter("first", { waitMs: 60_000 })) as Turn
    const late = line.enter("late", { waitMs: 60_000, pause: new LateRequest(400) })
    const second = line.enter("second", { waitMs: 60_000 })
    const third = line.enter("third", { waitMs: 60_000 })
    end(first)
    await vi.advanceTimersByTimeAsync(300)
    line.serve()
    const turn = (await second) as Turn
    await vi.advanceTimersByTimeAsync(100)
    end(turn)
    await vi.advanceTimersByTimeAsync(400)
    end((await late) as Turn)
    expect((await third)?.owner).toBe("third")
  })

  it("leaves waiters that were taken out to whoever took them", async () => {
    const { line, end } = lineOf(1)
    const first = (await line.enter("first", { waitMs: 1000 })) as Turn
    const client = new AbortController()
    const out = line.enter("out", { waitMs: 1000, signal: client.signal })
    const next = line.enter("next", { waitMs: 1000 })
    expect(line.takeOut((name) => name === "out")).toEqual(["out"])
    client.abort()
    end(first)
    expect((await next)?.owner).toBe("next")
    await vi.advanceTimersByTimeAsync(1000)
    expect(await out).toBeUndefined()
  })
})

/** What happens to a line. */
const steps = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant("enter" as const),
        ahead: fc.boolean(),
        waitMs: fc.integer({ min: 1, max: 500 }),
      }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("end" as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("disconnect" as const), which: fc.nat(20) }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: 200 }) }),
    },
  ),
  { maxLength: 60 },
)

/** A line as one would write it without I/O: those who wait, and those who have a turn. */
interface Model {
  waiting: { name: string; ahead: boolean; until: number }[]
  served: string[]
  turns: number
}

function serveModel(model: Model, most: number): void {
  while (model.turns < most) {
    const [next] = model.waiting.toSorted((a, b) => Number(b.ahead) - Number(a.ahead))
    if (!next) return
    model.waiting = model.waiting.filter((one) => one !== next)
    model.served.push(next.name)
    model.turns++
  }
}

describe("any line", () => {
  it("serves waiters in order, without delay, within its number of turns, and without a lost turn", async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.integer({ min: 1, max: 3 }), async (all, most) => {
        const { line, taken, end } = lineOf(most)
        const model: Model = { waiting: [], served: [], turns: 0 }
        const served: string[] = []
        const held: Turn[] = []
        const clients: { name: string; client: AbortController }[] = []
        for (const [number, step] of all.entries()) {
          if (step.kind === "enter") {
            const [name, client] = [`${number}`, new AbortController()]
            clients.push({ name, client })
            model.waiting.push({ name, ahead: step.ahead, until: Date.now() + step.waitMs })
            void line.enter(name, { ...step, signal: client.signal }).then((turn) => {
              if (!turn) return
              served.push(name)
              held.push(turn)
            })
          } else if (step.kind === "end") {
            const turn = held.shift()
            if (turn) {
              model.turns--
              end(turn)
            }
          } else if (step.kind === "disconnect") {
            const one = clients[step.which]
            model.waiting = model.waiting.filter(({ name }) => name !== one?.name)
            one?.client.abort()
          } else {
            model.waiting = model.waiting.filter(({ until }) => until > Date.now() + step.ms)
            await vi.advanceTimersByTimeAsync(step.ms)
          }
          serveModel(model, most)
          await vi.advanceTimersByTimeAsync(0)
          expect([served, line.length, taken.size]).toEqual([model.served, model.waiting.length, model.turns])
        }
        await vi.advanceTimersByTimeAsync(1000)
        expect([line.length, vi.getTimerCount()]).toEqual([0, 0])
      }),
      { numRuns: 300 },
    )
  })
})
