import { describe, expect, it } from "vitest"
import { Group, type GroupLimits } from "../../../src/isolate/group.ts"

const limits = (more: Partial<GroupLimits> = {}): GroupLimits => ({
  slowMs: 10_000,
  waiting: 100,
  running: 1,
  items: 100,
  weight: 1000,
  turnMs: 10_000,
  ...more,
})

/** Writes groups of words; each write ends when the test lets it. */
function pressOf() {
  const groups: { words: readonly string[]; end: (failure?: Error) => void }[] = []
  const run = (words: readonly string[]) =>
    new Promise<string[]>((resolve, reject) => {
      const end = (failure?: Error) =>
        failure ? reject(failure) : resolve(words.map((word) => word.toUpperCase()))
      groups.push({ words, end })
    })
  return { groups, run }
}

type Run = (words: readonly string[]) => Promise<readonly string[]>

/** The result, or why there is none. */
async function join(
  group: Group<string, string>,
  item: string,
  run: Run,
  weight = 1,
  answerMs = 10_000,
): Promise<string> {
  const joined = await group.join({ item, weight, answerBy: Date.now() + answerMs, run })
  return typeof joined === "string" ? joined : joined.result
}

describe("a group", () => {
  it("has one item when no other request writes", async () => {
    const { groups, run } = pressOf()
    const group = new Group<string, string>(limits())
    const written = join(group, "one", run)
    expect(groups.map(({ words }) => words)).toEqual([["one"]])
    groups[0]?.end()
    expect(await written).toBe("ONE")
  })

  it("has all items that arrived while the last group was written, and gives each its own result", async () => {
    const { groups, run } = pressOf()
    const group = new Group<string, string>(limits())
    const written = ["one", "two", "three", "four"].map((word) => join(group, word, run))
    groups[0]?.end()
    await expect.poll(() => groups.length).toBe(2)
    expect(new Set(groups[1]?.words)).toEqual(new Set(["two", "three", "four"]))
    groups[1]?.end()
    expect(await Promise.all(written)).toEqual(["ONE", "TWO", "THREE", "FOUR"])
  })

  it("has at most the items and the weight of its limits", async () => {
    const { groups, run } = pressOf()
    const group = new Group<string, string>(limits({ items: 3, weight: 5 }))
    const weights: Record<string, number> = { a: 1, b: 1, c: 1, d: 1, e: 1, f: 4, g: 2 }
    const written = Object.entries(weights).map(([word, weight]) => join(group, word, run, weight))
    for (let index = 0; groups.flatMap(({ words }) => words).length < 7 || groups[index]; index++) {
      await expect.poll(() => groups[index]).toBeDefined()
      groups[index]?.end()
    }
    expect(await Promise.all(written)).toEqual(["A", "B", "C", "D", "E", "F", "G"])
    for (const { words } of groups) {
      expect(words.length).toBeLessThanOrEqual(3)
      expect(words.reduce((sum, word) => sum + (weights[word] ?? 0), 0)).toBeLessThanOrEqual(5)
    }
    expect(groups.length).toBeLessThan(7)
  })

  it("runs at most its limit at once", async () => {
    const { groups, run } = pressOf()
    const group = new Group<string, string>(limits({ running: 2 }))
    const written = ["a", "b", "c", "d"].map((word) => join(group, word, run))
    expect(groups.map(({ words }) => words)).toEqual([["a"], ["b"]])
    groups[1]?.end()
    await expect.poll(() => groups[2]?.words.toSorted()).toEqual(["c", "d"])
    groups[0]?.end()
    groups[2]?.end()
    expect(await Promise.all(written)).toEqual(["A", "B", "C", "D"])
  })

  it("reports an error to each of its members, and the next group continues", async () => {
    const { groups, run } = pressOf()
    const group = new Group<string, string>(limits())
    const first = join(group, "a", run)
    const failed = Promise.allSettled(["b", "c"].map((word) => join(group, word, run)))
    groups[0]?.end()
    await first
    await expect.poll(() => groups.length).toBe(2)
    const next = join(group, "d", run)
    groups[1]?.end(new Error("no answer"))
    expect((await failed).map((one) => one.status === "rejected" && one.reason.message)).toEqual([
      "no answer",
      "no answer",
    ])
    await expect.poll(() => groups[2]?.words).toEqual(["d"])
    groups[2]?.end()
    expect(await next).toBe("D")
  })

  it("makes room for the next group after a bounded time when its leader never ends it", async () => {
    const { groups, run } = pressOf()
    const group = new Group<string, string>(limits())
    void join(group, "gone", run, 1, 200)
    const next = join(group, "a", run)
    await expect.poll(() => groups[1]?.words).toEqual(["a"])
    groups[1]?.end()
    expect(await next).toBe("A")
  })

  it("gives a member no answer in time when its leader never ends it", async () => {
    const { groups, run } = pressOf()
    const group = new Group<string, string>(limits())
    const first = join(group, "a", run)
    const answers = new Map(["b", "c"].map((word) => [word, join(group, word, run, 1, 200)]))
    groups[0]?.end()
    await first
    await expect.poll(() => groups[1]?.words.length).toBe(2)
    // Whoever looks first leads.
    const [leader = "", member = ""] = groups[1]?.words ?? []
    expect(await answers.get(member)).toBe("no answer")
    groups[1]?.end()
    expect(await answers.get(leader)).toBe(leader.toUpperCase())
  })

  it("starts beside another one that is slow", async () => {
    const { groups, run } = pressOf()
    const group = new Group<string, string>(limits({ slowMs: 100 }))
    const slow = join(group, "a", run)
    const next = join(group, "b", run)
    await expect.poll(() => groups[1]?.words).toEqual(["b"])
    groups[1]?.end()
    groups[0]?.end()
    expect(await Promise.all([slow, next])).toEqual(["A", "B"])
  })

  it("refuses an item at once when too many wait", async () => {
    const { groups, run } = pressOf()
    const group = new Group<string, string>(limits({ waiting: 1 }))
    const written = [join(group, "a", run), join(group, "b", run)]
    expect(await join(group, "c", run)).toBe("no turn")
    groups[0]?.end()
    await expect.poll(() => groups[1]?.words).toEqual(["b"])
    groups[1]?.end()
    expect(await Promise.all(written)).toEqual(["A", "B"])
  })

  it("leaves out an item whose turn does not come in time", async () => {
    const { groups, run } = pressOf()
    const group = new Group<string, string>(limits({ turnMs: 100 }))
    const first = join(group, "a", run)
    expect(await join(group, "b", run)).toBe("no turn")
    groups[0]?.end()
    await first
    expect(groups).toHaveLength(1)
  })
})
