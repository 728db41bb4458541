import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { Entrance, type Inside, LONGEST_ENTRANCE_WAIT_MS } from "../../../src/isolate/entrance.ts"

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] })
})
afterEach(() => {
  vi.useRealTimers()
})

/** Lets in as many of a thousand requests as may enter. */
const enter = (entrance: Entrance): Inside[] =>
  Array.from({ length: 1000 }, () => entrance.enterAtOnce()).filter((inside) => inside !== undefined)

const leave = (entrance: Entrance, inside: readonly Inside[]) => {
  for (const request of inside) entrance.leave(request)
}

const patient = () => new AbortController().signal

describe("the requests inside an isolate", () => {
  it("are at most 512 while the event loop is in time", () => {
    const entrance = new Entrance()
    const inside = enter(entrance)
    expect(inside.length).toBe(512)
    leave(entrance, inside.slice(0, 10))
    entrance.turn(300)
    expect(enter(entrance).length).toBe(10)
  })

  it("are seven tenths of those inside after a late turn, and at least 32", () => {
    const entrance = new Entrance()
    leave(entrance, enter(entrance).slice(100))
    entrance.turn(301)
    expect(enter(entrance).length).toBe(0)
    const crowded = new Entrance()
    const inside = enter(crowded)
    crowded.turn(301)
    leave(crowded, inside)
    expect(enter(crowded).length).toBe(358)
    const others = new Entrance()
    for (let turn = 0; turn < 20; turn++) others.turn(60_000)
    expect(enter(others).length).toBe(32)
  })

  it("are more again when 20 turns were in time, until the next late one", () => {
    const entrance = new Entrance()
    const most = () => {
      const inside = enter(entrance)
      leave(entrance, inside)
      return inside.length
    }
    const mostAfter = (turns: number) => {
      for (let turn = 0; turn < turns; turn++) entrance.turn(0)
      return most()
    }
    entrance.turn(1000)
    expect([mostAfter(20), mostAfter(1), mostAfter(1), mostAfter(1)]).toEqual([32, 36, 40, 44])
    entrance.turn(1000)
    expect([mostAfter(20), mostAfter(1)]).toEqual([32, 36])
    expect(mostAfter(40)).toBe(512)
  })

  it("do not count for more than 20 seconds when the runtime has ended them without a word", () => {
    const entrance = new Entrance()
    enter(entrance)
    vi.advanceTimersByTime(19_999)
    entrance.turn(0)
    expect(enter(entrance).length).toBe(0)
    vi.advanceTimersByTime(1)
    entrance.turn(0)
    expect(enter(entrance).length).toBe(512)
  })
})

describe("the requests that wait at the entrance", () => {
  it("enter in order of arrival when others leave, and none passes them", async () => {
    const entrance = new Entrance()
    const inside = enter(entrance)
    const order: number[] = []
    const waiting = [1, 2, 3].map(async (number) => {
      const entered = await entrance.enter(patient())
      if (entered) order.push(number)
    })
    leave(entrance, inside.slice(0, 2))
    expect(entrance.enterAtOnce()).toBeUndefined()
    await Promise.all(waiting.slice(0, 2))
    expect(order).toEqual([1, 2])
    leave(entrance, inside.slice(2, 3))
    await Promise.all(waiting)
    expect(order).toEqual([1, 2, 3])
  })

  it("enter when the event loop is in time again", async () => {
    const entrance = new Entrance()
    entrance.turn(1000)
    expect(enter(entrance).length).toBe(32)
    const waiting = entrance.enter(patient())
    for (let turn = 0; turn <= 20; turn++) entrance.turn(0)
    expect(await waiting).toBeDefined()
  })

  it("are refused after 5 seconds", async () => {
    const entrance = new Entrance()
    enter(entrance)
    const answers: unknown[] = []
    const waiting = entrance.enter(patient()).then((inside) => answers.push(inside))
    await vi.advanceTimersByTimeAsync(LONGEST_ENTRANCE_WAIT_MS - 1)
    expect(answers).toEqual([])
    await vi.advanceTimersByTimeAsync(1)
    await waiting
    expect(answers).toEqual([undefined])
  })

  it("are at most 1,024; another is refused at once", async () => {
    const entrance = new Entrance()
    const inside = enter(entrance)
    const waiting = Array.from({ length: 1024 }, () => entrance.enter(patient()))
    expect(await entrance.enter(patient())).toBeUndefined()
    leave(entrance, inside.slice(0, 1))
    expect(await waiting[0]).toBeDefined()
    await vi.advanceTimersByTimeAsync(LONGEST_ENTRANCE_WAIT_MS)
    expect((await Promise.all(waiting)).filter((entered) => entered).length).toBe(1)
  })

  it("enter first where their sender has the fewest inside, by whichever of its names has the most", async () => {
    const entrance = new Entrance()
    const inside = [
      ...Array.from({ length: 300 }, () => entrance.enterAtOnce(["address 1", "key 1"])),
      ...Array.from({ length: 212 }, (_, number) =>
        entrance.enterAtOnce(["address 2", `wrong key ${number}`]),
      ),
    ].filter((request) => request !== undefined)
    expect(inside.length).toBe(512)
    const order: string[] = []
    const senders = [
      ["address 1", "key 1"],
      ["address 2", "another wrong key"],
      ["address 3", "key 3"],
    ] as const
    const waiting = senders.map((sender) =>
      entrance.enter(patient(), sender).then(() => order.push(sender[1])),
    )
    leave(entrance, inside.slice(0, 1))
    await waiting[2]
    leave(entrance, inside.slice(1, 2))
    await waiting[1]
    leave(entrance, inside.slice(2, 3))
    await waiting[0]
    expect(order).toEqual(["key 3", "another wrong key", "key 1"])
  })

  it("are at most 512 of one sender, and others still wait", async () => {
    const entrance = new Entrance()
    const inside = enter(entrance)
    const waiting = Array.from({ length: 512 }, () => entrance.enter(patient(), ["address"]))
    expect(await entrance.enter(patient(), ["address"])).toBeUndefined()
    const other = entrance.enter(patient(), ["another address"])
    leave(entrance, inside.slice(0, 2))
    expect(await other).toBeDefined()
    expect(await waiting[0]).toBeDefined()
    await vi.advanceTimersByTimeAsync(LONGEST_ENTRANCE_WAIT_MS)
    expect((await Promise.all(waiting)).filter((entered) => entered).length).toBe(1)
  })

  it("leave no gap when their client disconnects", async () => {
    const entrance = new Entrance()
    const inside = enter(entrance)
    const client = new AbortController()
    const [gone, next] = [entrance.enter(client.signal), entrance.enter(patient())]
    client.abort()
    expect(await gone).toBeUndefined()
    leave(entrance, inside.slice(0, 1))
    expect(await next).toBeDefined()
  })

  it("count from the time at which they enter", async () => {
    const entrance = new Entrance()
    const inside = enter(entrance)
    const waiting = entrance.enter(patient())
    vi.advanceTimersByTime(3000)
    leave(entrance, inside)
    expect((await waiting)?.enteredAt).toBe(Date.now())
  })
})

describe("a request that waits for its client", () => {
  it("does not count as inside after a second, and enters again before others", async () => {
    const entrance = new Entrance()
    const inside = enter(entrance)
    const [slow, ...others] = inside as [Inside, ...Inside[]]
    entrance.pause(slow)
    vi.advanceTimersByTime(999)
    entrance.turn(0)
    expect(entrance.enterAtOnce()).toBeUndefined()
    vi.advanceTimersByTime(1)
    entrance.turn(0)
    expect(entrance.enterAtOnce()).toBeDefined()
    const order: string[] = []
    const next = entrance.enter(patient()).then(() => order.push("next"))
    const again = entrance.resume(slow, patient()).then((isInside) => order.push(`again ${isInside}`))
    leave(entrance, others.slice(0, 2))
    await Promise.all([next, again])
    expect(order).toEqual(["again true", "next"])
  })

  it("counts on when its pause was short", async () => {
    const entrance = new Entrance()
    const [request] = enter(entrance) as [Inside]
    entrance.pause(request)
    vi.advanceTimersByTime(500)
    entrance.turn(0)
    expect(await entrance.resume(request, patient())).toBe(true)
    vi.advanceTimersByTime(5000)
    entrance.turn(0)
    expect(entrance.enterAtOnce()).toBeUndefined()
    entrance.leave(request)
    expect(enter(entrance).length).toBe(1)
  })

  it("is refused when it cannot enter again in time", async () => {
    const entrance = new Entrance()
    const [request] = enter(entrance) as [Inside]
    entrance.pause(request)
    vi.advanceTimersByTime(1000)
    entrance.turn(0)
    enter(entrance)
    const again = entrance.resume(request, patient())
    await vi.advanceTimersByTimeAsync(LONGEST_ENTRANCE_WAIT_MS)
    expect(await again).toBe(false)
  })

  it("counts once, and not after it has left, when it has entered again", async () => {
    const entrance = new Entrance()
    const inside = enter(entrance)
    const [request] = inside as [Inside]
    entrance.pause(request)
    vi.advanceTimersByTime(1000)
    entrance.turn(0)
    expect(await entrance.resume(request, patient())).toBe(true)
    expect(enter(entrance).length).toBe(0)
    leave(entrance, inside)
    expect(enter(entrance).length).toBe(512)
  })
})
