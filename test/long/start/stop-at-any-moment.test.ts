import { setTimeout as sleep } from "node:timers/promises"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { freePort } from "../../../src/local/machine/ports.ts"
import { descendants, stillRunning } from "../../setup/processes.ts"
import { dataFolder, endAll, npmStart, READY, start } from "./npm-start.ts"

let folder: string
let port: number

beforeEach(async () => {
  folder = await dataFolder()
  port = await freePort()
})
afterEach(() => endAll(folder), 60_000)

const here = () => ["--port", String(port), "--data", folder]

type Run = ReturnType<typeof start>

/** What no orderly end prints: an error, a stack, or the words of a library about its interrupted work. */
const ERROR_TEXT = /error|fail|exception|disposed|refused|not ready|ended unexpectedly|^\s+at /im

/** Waits for the end, and checks that it was orderly: no error text, no process left, the port free. */
async function expectOrderlyEnd({ said, ended, child }: Run, started: Awaited<ReturnType<Run["processes"]>>) {
  const code = await ended
  // Before the first line of its own code, a signal ends a process by itself.
  if (said.text !== "") expect([0, null], said.text).toContain(code)
  expect(said.text).not.toMatch(ERROR_TEXT)
  await expect.poll(() => stillRunning(started)).toEqual([])
  expect(await descendants(child.pid ?? 0)).toEqual([])
}

const LINES = ["Creating the database", "Preparing the tables", "Starting the Worker", READY]

/** The start is stopped at each of its lines. A test of npm's group also starts again. */
describe("a start that is stopped", { timeout: 180_000 }, () => {
  it.each(
    LINES.flatMap((line) => (["SIGINT", "SIGTERM", "SIGHUP"] as const).map((signal) => ({ line, signal }))),
  )("ends in order when its process gets $signal at “$line”", async ({ line, signal }) => {
    const run = start(here())
    await run.saying(line)
    const started = await run.processes()
    run.child.kill(signal)
    await expectOrderlyEnd(run, started)
  })

  it.each(LINES.flatMap((line) => (["SIGINT", "SIGTERM"] as const).map((signal) => ({ line, signal }))))(
    "ends in order when npm's group gets $signal at “$line”, and starts again at once",
    async ({ line, signal }) => {
      const run = npmStart(here())
      await run.saying(line)
      const started = await run.processes()
      run.signalGroup(signal)
      // npm ends at the signal, before what it has started: the next start waits for that.
      const next = npmStart(here())
      await run.ended
      expect(run.said.text).not.toMatch(ERROR_TEXT)
      await next.saying(READY)
      expect(next.said.text).not.toMatch(ERROR_TEXT)
      await expect.poll(() => stillRunning(started)).toEqual([])
      const running = await next.processes()
      next.signalGroup("SIGINT")
      await expectOrderlyEnd(next, running)
    },
  )

  it.each([0, 40, 150, 300, 650, 900, 1350, 1700, 2250, 2800, 3550, 4300, 5550, 7000])(
    "ends in order when its group gets SIGINT after %i ms",
    async (ms) => {
      const run = ms % 100 === 0 ? start(here()) : npmStart(here())
      await sleep(ms)
      const started = await run.processes()
      run.signalGroup("SIGINT")
      await expectOrderlyEnd(run, started)
    },
  )
})
