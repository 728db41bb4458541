import { describe, expect, it } from "vitest"
import { STREAM_BOUNDS, type StreamBounds } from "../../../../src/http/request/bounds.ts"
import { type StreamEnd, streamLines } from "../../../../src/http/routes/export.ts"
import type { SignalRows } from "../../../../src/store/signals/read.ts"

const TEN = 10

/** A page of ten rows, `number` of `pages`; a row is known by its id. */
const page = (number: number, pages: number, size = TEN): SignalRows => ({
  rows: Array.from({ length: size }, (_, index) => ({ id: `${number}-${index}` })) as SignalRows["rows"],
  next: number + 1 < pages ? { time: "2025-01-15T09:30:00.000000Z", id: number + 1 } : null,
})

interface Setting {
  pages: number
  limit?: number
  bounds?: Partial<StreamBounds>
  /** Bytes of a line. */
  width?: number
  read?: (number: number) => Promise<SignalRows>
}

function open({ pages, limit, bounds, width = 8, read = async (number) => page(number, pages) }: Setting) {
  const reads: number[] = []
  const ends: StreamEnd[] = []
  let alive = 0
  const stream = streamLines({
    first: page(0, pages),
    read: async ({ id }) => {
      reads.push(id)
      return await read(id)
    },
    statements: () => 1 + reads.length,
    head: "",
    line: ({ id }) => `${id.padEnd(width - 1)}\n`,
    limit,
    bounds: { ...STREAM_BOUNDS, ...bounds },
    isWanted: () => false,
    onAlive: () => alive++,
    onEnd: (end) => ends.push(end),
  })
  return { stream, reads, ends, alive: () => alive }
}

const idsOf = (text: string) =>
  text
    .split("\n")
    .filter(Boolean)
    .map((line) => line.trim())

describe("a stream of lines", () => {
  it("has the rows of every page in their order, and ends", async () => {
    const { stream, reads, ends } = open({ pages: 3 })
    const ids = idsOf(await new Response(stream).text())
    expect([ids.length, ids[0], ids.at(-1), reads]).toEqual([30, "0-0", "2-9", [1, 2]])
    expect(ends).toEqual([{ outcome: "complete", signals: 30, bytes: 240 }])
  })

  it("continues after a page without rows", async () => {
    const { stream } = open({ pages: 4, read: async (number) => page(number, 4, number === 3 ? TEN : 0) })
    expect(idsOf(await new Response(stream).text()).length).toBe(20)
  })

  it("reads no page before the reader has taken the last one", async () => {
    const { stream, reads } = open({ pages: 5, width: 64 * 1024 })
    const reader = stream.getReader()
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(reads).toEqual([])
    for (let chunk = 0; chunk < TEN; chunk++) expect((await reader.read()).value?.length).toBe(64 * 1024)
    expect(reads).toEqual([])
    await reader.read()
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(reads).toEqual([1])
    await reader.cancel()
  })

  it("stops reading when its reader leaves, also during a read", async () => {
    const { stream, reads, ends } = open({
      pages: 5,
      read: async (number) => {
        await new Promise((resolve) => setTimeout(resolve, 50))
        return page(number, 5)
      },
    })
    const reader = stream.getReader()
    await reader.read()
    const second = reader.read()
    await reader.cancel()
    await second
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect([reads, ends]).toEqual([[1], [{ outcome: "cancelled", signals: TEN, bytes: 80 }]])
  })

  it.each<[string, Setting, signals: number, reason: RegExp]>([
    ["signals", { pages: 5, bounds: { signals: 20 } }, 20, /more than 20 signals/],
    ["statements", { pages: 5, bounds: { statements: 3 } }, 30, /more than 3 statements/],
    [
      "a failed read",
      {
        pages: 5,
        read: async () => {
          throw new Error("the database is away")
        },
      },
      10,
      /the database is away/,
    ],
  ])("fails for its reader when it is cut off by %s", async (_, setting, signals, reason) => {
    const { stream, ends } = open(setting)
    let text = ""
    const decoder = new TextDecoder()
    const reading = (async () => {
      for await (const bytes of stream) text += decoder.decode(bytes)
    })()
    await expect(reading).rejects.toThrow(reason)
    expect(idsOf(text).length).toBe(signals)
    expect(ends).toEqual([{ outcome: "cut_off", signals, bytes: 8 * signals, error: expect.any(Error) }])
  })

  it("ends without an error when the last signal is the last within its limit", async () => {
    const { stream, ends } = open({ pages: 2, bounds: { signals: 20, statements: 2 } })
    expect(idsOf(await new Response(stream).text()).length).toBe(20)
    expect(ends).toMatchObject([{ outcome: "complete" }])
  })

  it("fails when its reader does not read for too long, and keeps its slot until then", async () => {
    const { stream, ends, alive } = open({ pages: 5, bounds: { idleMs: 1500 } })
    const reader = stream.getReader()
    await reader.read()
    await expect.poll(() => ends).toMatchObject([{ outcome: "cut_off" }])
    await expect(reader.read()).rejects.toThrow("the reader took nothing for 1.5 seconds")
    expect(alive()).toBeGreaterThan(0)
  })

  it("fails when it takes too long although its reader reads", async () => {
    const { stream, ends } = open({
      pages: 1_000_000,
      read: async (number) => {
        await new Promise((resolve) => setTimeout(resolve, 20))
        return page(number, 1_000_000)
      },
      bounds: { totalMs: 500 },
    })
    await expect(new Response(stream).text()).rejects.toThrow("longer than 0.5 seconds")
    expect(ends).toMatchObject([{ outcome: "cut_off" }])
  })
})
