import { execFile } from "node:child_process"
import { once } from "node:events"
import { get, type IncomingMessage } from "node:http"
import { createServer } from "node:net"
import { hostname } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { freePort } from "../../../src/local/machine/ports.ts"
import { stillRunning } from "../../setup/processes.ts"
import { dataFolder, endAll, READY, run, start } from "./npm-start.ts"

let folder: string
let port: number

beforeEach(async () => {
  folder = await dataFolder()
  port = await freePort()
})
afterEach(() => endAll(folder), 60_000)

const here = () => ["--port", String(port), "--data", folder]

const gone = (processes: Parameters<typeof stillRunning>[0]) =>
  expect.poll(() => stillRunning(processes)).toEqual([])

const send = (path: string, signal: object) =>
  fetch(`http://localhost:${port}${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(signal),
  })

/** By Node's own client, which, unlike fetch, sends any Host. */
async function statusFor(headers: Record<string, string>): Promise<number | undefined> {
  const [response] = (await once(
    get({ host: "127.0.0.1", port, path: "/api/signals", headers }),
    "response",
  )) as [IncomingMessage]
  response.resume()
  return response.statusCode
}

const list = async (query: string) =>
  ((await (await fetch(`http://localhost:${port}/api/signals?${query}`)).json()) as { signals: unknown[] })
    .signals

/** Some tests start the whole service twice. */
describe("npm start", () => {
  it.each([[["SIGINT"]], [["SIGINT", "SIGINT"]], [["SIGTERM"]]] as const)(
    "starts everything, prints how to try it, and ends every process it started at %j",
    async (signals) => {
      const { child, said, ended, saying, processes } = start(here())
      await saying(READY)
      const command = /curl -X POST[\s\S]*?'\n/.exec(said.text)?.[0] ?? ""
      const { stdout } = await promisify(execFile)("sh", ["-c", command])
      expect(JSON.parse(stdout)).toMatchObject({ successful_count: 1 })
      const started = await processes()
      expect(
        started.filter(({ command }) => /workerd|worker\/process|postgres -D/.test(command)).length,
      ).toBeGreaterThan(3)
      for (const signal of signals) child.kill(signal)
      expect(await ended).toBe(0)
      await gone(started)
    },
  )

  it("stops everything with an error when workerd ends by itself", async () => {
    const { said, ended, saying, processes } = start(here())
    await saying(READY)
    const started = await processes()
    const workerd = started.find(({ command }) => /workerd serve/.test(command))
    process.kill(workerd?.pid ?? 0, "SIGKILL")
    expect(await ended).toBe(1)
    expect(said.text).toContain("workerd ended by itself (SIGKILL).")
    expect(said.text).toContain("The Worker ended unexpectedly (code 1). Its last messages are above.")
    await gone(started)
  })

  it("also ends when npm gets SIGTERM and does not forward it", async () => {
    const { child, saying, processes } = run("npm", ["start", "--", ...here()])
    await saying(READY)
    const started = await processes()
    child.kill("SIGTERM")
    await gone(started)
  })

  it("leaves no process behind when it is killed, and uses its data the next time", async () => {
    const first = start(here())
    await first.saying(READY)
    expect((await send("/api/signals", { context_window_id: "kept" })).status).toBe(201)
    const started = await first.processes()
    first.child.kill("SIGKILL")
    // At once: the new start waits until the Worker and Postgres of the former one have ended.
    const second = start([...here(), "--demo"])
    await second.saying(READY)
    await gone(started)
    expect(await list("context_window_id=kept")).toHaveLength(1)
    await expect.poll(async () => (await list("")).length).toBeGreaterThan(5)
    second.child.kill("SIGINT")
    expect(await second.ended).toBe(0)
    await gone(started)
  })

  it.each([
    ["Postgres", /postgres -D/, "Postgres ended unexpectedly."],
    ["the Worker's process", /worker\/process/, "The Worker ended unexpectedly"],
  ])("ends with a sentence when %s has", async (_, command, sentence) => {
    const { said, ended, saying, processes } = start(here())
    await saying(READY)
    const started = await processes()
    process.kill(started.find((one) => command.test(one.command))?.pid ?? 0, "SIGKILL")
    expect(await ended).toBe(1)
    expect(said.text).toContain(sentence)
    await gone(started)
  })

  it("passes settings to the Worker without showing them to others, and runs beside another npm start", async () => {
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

  it("stores a data point of each request and reads the metrics from them, also after a restart", async () => {
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

  it("starts no Postgres when DATABASE_URL names a database, and says what is missing there", async () => {
    const settings = {
      DATABASE_URL: "postgresql://user:s3cret@db.invalid/signals",
      DATABASE_DEADLINE_MS: "200",
    }
    const { child, said, ended, saying, processes } = start([...here(), "--open-access"], settings)
    await saying("Not ready yet: ")
    expect(said.text).toContain(
      "There are no metrics without the embedded Postgres. Set CLOUDFLARE_ACCOUNT_ID and ANALYTICS_API_TOKEN to read them at Cloudflare.",
    )
    expect((await processes()).filter(({ command }) => command.includes("postgres -D"))).toEqual([])
    expect(said.text).not.toContain("s3cret")
    child.kill("SIGINT")
    expect(await ended).toBe(0)
  })

  it.each([
    [{}, []],
    [{ OPEN_ACCESS: "true" }, []],
    [{ OPEN_ACCESS: "true", API_KEYS: "[]" }, ["--demo"]],
  ])("does not open a database on another machine to everyone: %j %j", async (settings, options) => {
    const DATABASE_URL = "postgresql://owner:s3cret@db.invalid/signals"
    const { said, ended } = start([...here(), ...options], { ...settings, DATABASE_URL })
    expect(await ended).toBe(1)
    expect(said.text).toMatch(/^DATABASE_URL names a database on another machine, .* add --open-access\.$/m)
    expect(said.text).not.toContain("s3cret")
  })

  it("reports in one sentence that another npm start uses the data folder", async () => {
    const first = start(["--data", folder, "--database-only"])
    await first.saying(READY)
    const { said, ended } = start(here())
    expect(await ended).toBe(1)
    expect(said.text.trim()).toBe(
      `Another npm start (process ${first.child.pid}) uses the data folder ${folder}. Stop it, or choose another folder with --data.`,
    )
    first.child.kill("SIGINT")
    expect(await first.ended).toBe(0)
  })

  it("reports in one sentence that the port is in use, and starts nothing", async () => {
    const other = createServer().listen(port, "127.0.0.1")
    await once(other, "listening")
    const { said, ended } = start(here())
    expect(await ended).toBe(1)
    expect(said.text.trim()).toBe(
      `Port ${port} is in use. Stop the program that listens there, or choose another port with --port.`,
    )
    await new Promise((resolve) => other.close(resolve))
  })

  it("warns of open access at an address that others can reach, and moves the endpoint to a free port", async () => {
    // The endpoint's own port. Another program of this machine that listens there does as well.
    const other = createServer()
      .on("error", () => {})
      .listen(8003, "127.0.0.1")
    try {
      const { child, said, ended, saying } = start([...here(), "--host", "0.0.0.0"])
      await saying(READY)
      expect(said.text).toContain(
        `Warning: everyone who can reach 0.0.0.0:${port} can read and write signals. Set API_KEYS to ask for a key.`,
      )
      const moved = /^Port 8003 is in use, so the database's endpoint listens on (\d+)\.$/m.exec(
        said.text,
      )?.[1]
      expect(said.text).toContain(`SQL over HTTP at http://127.0.0.1:${moved}/sql`)
      // Nor is it less careful there of what a page sends: another site, or a name that points at this
      // machine.
      const statuses = []
      const own = { Host: `localhost:${port}` }
      for (const headers of [
        own,
        { Host: hostname() },
        { Host: "evil.example" },
        { ...own, "Sec-Fetch-Site": "cross-site" },
      ])
        statuses.push(await statusFor(headers))
      expect(statuses).toEqual([200, 200, 403, 403])
      child.kill("SIGINT")
      expect(await ended).toBe(0)
    } finally {
      other.close()
    }
  })

  it("does not move an endpoint whose port was named", async () => {
    const other = createServer().listen(port, "127.0.0.1")
    await once(other, "listening")
    const { said, ended } = start(["--data", folder, "--database-only", "--endpoint-port", String(port)])
    expect(await ended).toBe(1)
    expect(said.text).toContain(`\nPort ${port} is in use. Choose another port with --endpoint-port.\n`)
    other.close()
  })

  it.each([
    [["--prot", "1"], "Unknown option '--prot'. Run \"npm start -- --help\" for the list."],
    [["--port", "http"], 'Invalid port "http". --port takes a number from 1 to 65535.'],
    [["extra"], "Unexpected argument 'extra'. Run \"npm start -- --help\" for the list."],
  ])("reports in one sentence what is wrong with %j", async (args, sentence) => {
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
