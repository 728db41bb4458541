import { type ChildProcess, execFile, spawn } from "node:child_process"
import { mkdtemp, rm } from "node:fs/promises"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { freePort } from "../../src/local/ports.ts"

const START = new URL("../../src/local/start.ts", import.meta.url).pathname

let folder: string
let port: number
let running: ChildProcess | undefined

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-test-"))
  await promisify(execFile)("chmod", ["755", folder])
  port = await freePort()
})
afterEach(async () => {
  if (running?.exitCode === null) running.kill("SIGKILL")
  await rm(folder, { recursive: true, force: true })
})

/** Runs `npm start` with these arguments, and gathers what it says. */
function start(args: string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [START, ...args], { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } })
  running = child
  const said = { text: "" }
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text: string) => (said.text += text))
  const ended = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)))
  const saying = (words: string) => expect.poll(() => said.text, { timeout: 60_000 }).toContain(words)
  return { child, said, ended, saying }
}

const here = () => ["--port", String(port), "--data", folder]

/** The processes below one, whatever their depth. */
async function descendants(pid: number): Promise<number[]> {
  const { stdout } = await promisify(execFile)("ps", ["-e", "-o", "pid=,ppid="])
  const pairs = stdout
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number) as [number, number])
  const below = (parent: number): number[] =>
    pairs.filter(([, ppid]) => ppid === parent).flatMap(([child]) => [child, ...below(child)])
  return below(pid)
}

const isAlive = (pid: number) => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

describe("npm start", () => {
  it.each(["SIGINT", "SIGTERM"] as const)(
    "starts everything, tells how to try it, and at %s ends every process it started",
    async (signal) => {
      const { child, said, ended, saying } = start(here())
      await saying("Ctrl-C ends it.")
      const command = /curl -X POST[\s\S]*?'\n/.exec(said.text)?.[0] ?? ""
      const { stdout } = await promisify(execFile)("sh", ["-c", command])
      expect(JSON.parse(stdout)).toMatchObject({ successful_count: 1 })
      const processes = await descendants(child.pid ?? 0)
      expect(processes.length).toBeGreaterThan(3)
      child.kill(signal)
      expect(await ended).toBe(0)
      // Whose parent has gone is a zombie until the machine's first process takes note.
      await expect.poll(() => processes.filter(isAlive), { timeout: 30_000 }).toEqual([])
    },
  )

  it("uses the data of the last time again", async () => {
    const first = start(here())
    await first.saying("Ctrl-C ends it.")
    await fetch(`http://localhost:${port}/api/signals`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: '{"context_window_id":"kept"}',
    })
    first.child.kill("SIGINT")
    await first.ended
    const second = start([...here(), "--demo"])
    await second.saying("Ctrl-C ends it.")
    const list = async (query: string) =>
      ((await (await fetch(`http://localhost:${port}/api/signals?${query}`)).json()) as { signals: unknown[] }).signals
    expect(await list("context_window_id=kept")).toHaveLength(1)
    await expect.poll(async () => (await list("")).length, { timeout: 20_000 }).toBeGreaterThan(5)
    second.child.kill("SIGINT")
    expect(await second.ended).toBe(0)
  })

  it("hands settings to the Worker, and nobody else can read them", async () => {
    const sha256 = "9".repeat(64)
    const { child, ended, saying } = start(here(), {
      API_KEYS: JSON.stringify([{ name: "it's me", sha256, scopes: ["read"] }]).replace("it's me", "me"),
      MAX_SIGNALS: "3",
    })
    await saying("Ctrl-C ends it.")
    expect((await fetch(`http://localhost:${port}/api/signals`)).status).toBe(401)
    const { stdout } = await promisify(execFile)("ps", ["-e", "-o", "args="])
    expect(stdout).not.toContain(sha256)
    child.kill("SIGINT")
    await ended
  })

  it("says in one sentence that the port is in use, and starts nothing", async () => {
    const other = createServer().listen(port, "127.0.0.1")
    await new Promise((resolve) => other.once("listening", resolve))
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
