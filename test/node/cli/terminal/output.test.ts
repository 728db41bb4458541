import { stripVTControlCharacters } from "node:util"
import { afterEach, describe, expect, it, vi } from "vitest"
import { duration, openProgress } from "../../../../src/cli/terminal/output.ts"

/** What is written to a terminal of a width, or to a file. */
function outputOf(isTTY: boolean, columns = 100): { stream: NodeJS.WriteStream; written: string[] } {
  const written: string[] = []
  const write = (text: string) => written.push(text) > 0
  return { stream: { isTTY, columns, write } as unknown as NodeJS.WriteStream, written }
}

/** What a terminal shows, each time that the line is drawn. */
const drawn = (written: readonly string[]) =>
  stripVTControlCharacters(written.join("\n"))
    .split(/\r|\n/)
    .filter((text) => text !== "")

const START = { read: 0, position: null }
/** A source of which half lies before the position. */
const HALF = () => 0.5

const checkpoint = {
  position: "7",
  read: 5000,
  stored: 4990,
  failed: 7,
  skipped: { channel_join: 3 },
}

describe("the progress of an import", () => {
  afterEach(() => void vi.useRealTimers())

  it("is one redrawn line on a terminal, with a bar where the total is known", () => {
    const { stream, written } = outputOf(true, 140)
    const progress = openProgress(stream, HALF, START)
    progress.show(checkpoint, 4)
    expect(drawn(written)[0]).toMatch(
      /^\[#+ +\] 50 %, 5,000 read, 4,990 stored, 7 failed, 3 skipped, [\d,]+\/s, \d+ s left, 4 in flight$/,
    )
    progress.end()
    expect(drawn(written).at(-1)).toMatch(/^50 %, 5,000 read/)
  })

  it("fits into the line of a narrow terminal", () => {
    const { stream, written } = outputOf(true, 40)
    const progress = openProgress(stream, HALF, START)
    progress.show(checkpoint, 4)
    expect(Math.max(...drawn(written).map((text) => text.length))).toBeLessThan(40)
    progress.end()
  })

  it("is plain lines elsewhere, without a share where the total is not known", () => {
    const { stream, written } = outputOf(false)
    openProgress(stream, undefined, START).show(checkpoint, 4)
    expect(written).toEqual([
      expect.stringMatching(/^5,000 read, 4,990 stored, 7 failed, 3 skipped, [\d,]+\/s, 4 in flight\n$/),
    ])
  })

  it("goes on although somebody sets the clock of the machine back an hour", () => {
    vi.useFakeTimers({ toFake: ["Date", "performance"] })
    const { stream, written } = outputOf(false)
    const progress = openProgress(stream, undefined, START)
    progress.show({ ...checkpoint, read: 1 }, 4)
    vi.setSystemTime(Date.now() - 3_600_000)
    vi.advanceTimersByTime(4999)
    progress.show({ ...checkpoint, read: 2 }, 4)
    vi.advanceTimersByTime(1)
    progress.show({ ...checkpoint, read: 3 }, 4)
    expect(written.map((line) => line.slice(0, 6))).toEqual(["1 read", "3 read"])
  })

  it.each([
    [0.4, "1 s"],
    [59, "59 s"],
    [61, "1 min 1 s"],
    [3660, "1 h 1 min"],
  ])("prints %d seconds as %s", (seconds, text) => expect(duration(seconds)).toBe(text))
})
