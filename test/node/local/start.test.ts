import { type ChildProcess, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import { chmod, mkdtemp, rm } from "node:fs/promises"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { SETTINGS } from "../../../src/local/environment.ts"
import { freePort } from "../../../src/local/ports.ts"
import { descendants, stillRunning } from "../../setup/processes.ts"

const START = fileURLToPath(new URL("../../../src/local/start.ts", import.meta.url))

let folder: string
let port: number
const running = new Set<ChildProcess>()

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-test-"))
  // Started as root, Postgres runs as another user, who has to pass through.
  await chmod(folder, 0o755)
  port = await freePort()
})
afterEach(async () => {
  // Only a failed test has left any.
  for (const child of running) child.kill("SIGTERM")
  for (const child of running) await once(child, "close")
  await rm(folder, { recursive: true, force: true })
})

/** Empty settings, so that a developer's own environment and .dev.vars can't reach the tests, nor the tests their database. */
const NO_SETTINGS = Object.fromEntries(SETTINGS.map((name) => [name, ""]))

/** Runs a command, and gathers what it says. */
function run(command: string, args: string[], env: Record<string, string> = {}) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...NO_SETTINGS, ...env } })
  running.add(child)
  const said = { text: "" }
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text: string) => (said.text += text))
  const ended = once(child, "close").then(([code]) => {
    running.delete(child)
    return code as number | null
  })
  const saying = (words: string) => expect.poll(() => said.text, { timeout: 60_000 }).toContain(words)
  return { child, said, ended, saying, processes: () => descendants(child.pid ?? 0) }
}

const start = (args: string[], env?: Record<string, string>) => run(process.execPath, [START, ...args], env)
const here = () => ["--port", String(port), "--data", folder]
const READY = "Ctrl-C ends it."

const gone = (processes: Parameters<typeof stillRunning>[0]) =>
  expect.poll(() => stillRunning(processes), { timeout: 20_000 }).toEqual([])

const send = (path: string, signal: object) =>
  fetch(`http://localhost:${port}${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(signal),
  })

const list = async (query: string) =>
  ((await (await fetch(`http://localhost:${port}/api/signals?${query}`)).json()) as { signals: unknown[] }).signals

describe("npm start", () => {
  it.each([[["SIGINT"]], [["SIGINT", "SIGINT"]], [["SIGTERM"]]] as const)(
    "starts everything, tells how to try it, and at %j ends every process it started",
    async (signals) => {
      const { child, said, ended, saying, processes } = start(here())
      await saying(READY)
      const command = /curl -X POST[\s\S]*?'\n/.exec(said.text)?.[0] ?? ""
      const { stdout } = await promisify(execFile)("sh", ["-c", command])
      expect(JSON.parse(stdout)).toMatchObject({ successful_count: 1 })
      const started = await processes()
      expect(started.filter(({ command }) => /workerd|wrangler|postgres -D/.test(command)).length).toBeGreaterThan(3)
      for (const signal of signals) child.kill(signal)
      expect(await ended).toBe(0)
      await gone(started)
    },
  )

  it("ends, too, when npm is told to and says nothing", async () => {
    const { child, saying, processes } = run("npm", ["start", "--", ...here()])
    await saying(READY)
    const started = await processes()
    child.kill("SIGTERM")
    await gone(started)
  })

  it("takes the Worker along when it is killed, and uses its data the next time", async () => {
    const first = start(here())
    await first.saying(READY)
    expect((await send("/api/signals", { context_window_id: "kept" })).status).toBe(201)
    const started = await first.processes()
    first.child.kill("SIGKILL")
    await gone(started.filter(({ command }) => /workerd|wrangler/.test(command)))
    const second = start([...here(), "--demo"])
    await second.saying(READY)
    expect(await list("context_window_id=kept")).toHaveLength(1)
    await expect.poll(async () => (await list("")).length, { timeout: 20_000 }).toBeGreaterThan(5)
    second.child.kill("SIGINT")
    expect(await second.ended).toBe(0)
    await gone(started)
  })

  it.each([
    ["Postgres", /postgres -D/, "Postgres has ended by itself."],
    ["the Worker", /wrangler-dist/, "The Worker has ended by itself"],
  ])("ends with a sentence when %s has", async (_, command, sentence) => {
    const { said, ended, saying, processes } = start(here())
    await saying(READY)
    const started = await processes()
    process.kill(started.find((one) => command.test(one.command))?.pid ?? 0, "SIGKILL")
    expect(await ended).toBe(1)
    expect(said.text).toContain(sentence)
    await gone(started)
  })

  it("hands settings to the Worker, and nobody else can read them; another runs beside it", async () => {
    const sha256 = "9".repeat(64)
    const keys = JSON.stringify([{ name: "me", sha256, scopes: ["read"] }])
    const closed = start(here(), { API_KEYS: keys })
    const otherPort = await freePort()
    const open = start(["--port", String(otherPort), "--data", join(folder, "other")], { MAX_SIGNALS: "1" })
    await closed.saying(READY)
    await open.saying(READY)
    expect((await fetch(`http://localhost:${port}/api/signals`)).status).toBe(401)
    port = otherPort
    const signals = [{ context_window_id: "one" }, { context_window_id: "too many" }]
    expect((await send("/api/signals/batch", { signals })).status).toBe(413)
    const { stdout } = await promisify(execFile)("ps", ["-ww", "-e", "-o", "args="])
    expect(stdout).not.toContain(sha256)
    expect(closed.said.text + open.said.text).not.toContain(sha256)
    for (const { child, ended } of [closed, open]) {
      child.kill("SIGINT")
      expect(await ended).toBe(0)
    }
  })

  it("keeps a data point of each request and reads the metrics from them, also the next time", async () => {
    const requests = async () => {
      const response = await fetch(`http://localhost:${port}/api/metrics?window=15m`)
      return ((await response.json()) as { totals?: { requests: number } }).totals?.requests
    }
    for (const expected of [2, 4]) {
      // The account is there for wrangler's sake; without a token nothing of it can be read.
      const { child, said, ended, saying } = start(here(), { CLOUDFLARE_ACCOUNT_ID: "somebody" })
      await saying(READY)
      await send("/api/signals/batch", { signals: [{ context_window_id: "measured" }] })
      await send("/api/signals", { context_window_id: "measured" })
      await expect.poll(requests).toBe(expected)
      expect(said.text).not.toMatch(/undefined|has access to/)
      child.kill("SIGINT")
      expect(await ended).toBe(0)
    }
  })

  it("starts no Postgres where DATABASE_URL names a database, and says what is missing there", async () => {
    const settings = { DATABASE_URL: "postgresql://user:s3cret@db.invalid/signals", DATABASE_DEADLINE_MS: "200" }
    const { child, said, ended, saying, processes } = start(here(), settings)
    await saying("Not ready yet: ")
    expect(said.text).toContain(
      "Metrics can't be read without the embedded Postgres, unless CLOUDFLARE_ACCOUNT_ID and ANALYTICS_API_TOKEN are set.",
    )
    expect((await processes()).filter(({ command }) => command.includes("postgres -D"))).toEqual([])
    expect(said.text).not.toContain("s3cret")
    child.kill("SIGINT")
    expect(await ended).toBe(0)
  })

  it("says in one sentence that the port is in use, and starts nothing", async () => {
    const other = createServer().listen(port, "127.0.0.1")
    await once(other, "listening")
    const { said, ended } = start(here())
    expect(await ended).toBe(1)
    expect(said.text.trim()).toBe(`Port ${port} is in use: stop what listens there, or choose another with --port.`)
    await new Promise((resolve) => other.close(resolve))
  })

  it.each([
    [["--prot", "1"], "Unknown option '--prot'. See npm start -- --help."],
    [["--port", "http"], "--port http is no port: give a number from 1 to 65535."],
    [["extra"], "Unexpected argument 'extra'. See npm start -- --help."],
  ])("says in one sentence what is wrong with %j", async (args, sentence) => {
    const { said, ended } = start(args)
    expect(await ended).toBe(1)
    expect(said.text.trim()).toBe(sentence)
  })

  it("shows its options", async () => {
    const { said, ended } = start(["--help"])
    expect(await ended).toBe(0)
    expect(said.text).toContain("--demo")
  })
})
