import { describe, expect, it } from "vitest"
import { type KeyList, KnownKeys } from "../../../src/isolate/known-keys.ts"

/** A database of keys, whose readings a test counts, delays and fails; and a clock. */
function stand() {
  const state = { now: 1_000_000, keys: new Map([["a", "key a"]]), readings: 0, isAway: false, isCopy: false }
  let gate: PromiseWithResolvers<void> | undefined
  const known = new KnownKeys<string>({
    async read(): Promise<KeyList<string>> {
      state.readings++
      const keys = new Map(state.keys)
      await gate?.promise
      if (state.isAway) throw new Error("away")
      return { keys, isComplete: !state.isCopy }
    },
    keepAlive() {},
    now: () => state.now,
  })
  return {
    state,
    known,
    /** Holds the readings that begin from now on. @returns lets them go on */
    hold(): () => void {
      gate = Promise.withResolvers<void>()
      const held = gate
      return () => {
        gate = undefined
        held.resolve()
      }
    },
  }
}

describe("the keys that an isolate knows", () => {
  it("are read once for 30 seconds of known keys, then in the background", async () => {
    const { state, known, hold } = stand()
    for (let turn = 0; turn < 100; turn++) expect(await known.find("a")).toEqual({ key: "key a" })
    expect(state.readings).toBe(1)
    state.now += 31_000
    const release = hold()
    expect(await known.find("a")).toEqual({ key: "key a" })
    expect(state.readings).toBe(2)
    release()
  })

  it("lack a revoked one after 60 seconds at the latest, whenever it was asked for", async () => {
    for (const asked of [[], [10], [29], [31], [20, 40], [15, 30, 45]]) {
      const { state, known } = stand()
      await known.find("a")
      const from = state.now
      state.keys.delete("a")
      for (const second of asked) {
        state.now = from + second * 1000
        await known.find("a")
      }
      state.now = from + 60_000
      expect(await known.find("a"), String(asked)).toBe("unknown")
    }
  })

  it("do not answer for a key that was made while they were read", async () => {
    const { state, known, hold } = stand()
    const release = hold()
    const first = known.find("b")
    state.now += 5
    state.keys.set("b", "key b")
    const second = known.find("b")
    release()
    expect(await second).toEqual({ key: "key b" })
    expect(["unknown", { key: "key b" }]).toContainEqual(await first)
    expect(state.readings).toBe(2)
  })

  it("are read for unknown keys at a bounded rate; beyond it nothing is said of a key", async () => {
    const { state, known } = stand()
    const answers: unknown[] = []
    for (let turn = 0; turn < 10_000; turn++) {
      answers.push(await known.find(`wrong ${turn}`))
      state.now++
    }
    // 10 seconds.
    expect(state.readings).toBeLessThanOrEqual(4 + 10 * 2)
    expect(new Set(answers)).toEqual(new Set(["unknown", "cannot tell"]))
    state.now += 1000
    expect(await known.find("a")).toEqual({ key: "key a" })
  })

  it("share a reading between all who wait for one", async () => {
    const { state, known, hold } = stand()
    const release = hold()
    const answers = Array.from({ length: 100 }, (_, turn) => known.find(`wrong ${turn}`))
    release()
    expect(new Set(await Promise.all(answers))).toEqual(new Set(["unknown"]))
    expect(state.readings).toBe(1)
  })

  it("remember a wrong key for 30 seconds, and only the last thousand", async () => {
    const { state, known } = stand()
    expect(await known.find("wrong")).toBe("unknown")
    state.keys.set("wrong", "made later, under a digest that was tried before")
    for (let second = 0; second < 29; second++) {
      expect(await known.find("wrong")).toBe("unknown")
      state.now += 1000
    }
    expect(state.readings).toBe(1)
    state.now += 2000
    expect(await known.find("wrong")).toMatchObject({ key: expect.stringContaining("made later") })
  })

  it("stay while no reading succeeds, and are read at most every 5 seconds then", async () => {
    const { state, known } = stand()
    await known.find("a")
    state.isAway = true
    state.now++
    for (let second = 0; second < 600; second++) {
      expect(await known.find("a")).toEqual({ key: "key a" })
      expect(await known.find("b")).toBe("cannot tell")
      state.now += 1000
    }
    expect(state.readings).toBeLessThanOrEqual(1 + 600 / 5)
    state.isAway = false
    state.keys.delete("a")
    state.now += 60_000
    expect(await known.find("a")).toBe("unknown")
  })

  it("of a copy answer for those in it, and for no other", async () => {
    const { state, known } = stand()
    state.isCopy = true
    expect([await known.find("a"), await known.find("b")]).toEqual([{ key: "key a" }, "cannot tell"])
    state.isCopy = false
    state.keys.set("b", "key b")
    state.now += 6000
    expect(await known.find("b")).toEqual({ key: "key b" })
  })

  it("are not those of a reading that began before a change", async () => {
    const { state, known, hold } = stand()
    const release = hold()
    const before = known.find("a")
    state.keys.delete("a")
    known.forget((key) => key === "key a")
    release()
    await before
    expect(await known.find("a")).toBe("unknown")
  })

  it("lose one that is revoked here at once, also when nothing can be read", async () => {
    const { state, known } = stand()
    await known.find("a")
    state.isAway = true
    known.forget((key) => key === "key a")
    expect(await known.find("a")).toBe("cannot tell")
  })
})
