import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { createServer, type Server } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { bareEnvironment } from "./command-line.ts"
import { run, start } from "./import/importer.ts"

const SOURCE = fileURLToPath(new URL("../../../src/cli/main.ts", import.meta.url))
const NOBODY = "http://127.0.0.1:2"
const SIGNAL = '{"context_window_id":"c","raw_content":"0"}\n'
const SCORE = '{"dedupe_key":"k","signal_score":1,"scored_at":"2026-01-02"}\n'

/** Every command that calls the service. */
const COMMANDS = [
  ["import", "jsonl", "in.jsonl"],
  ["import", "scores", "jsonl", "scores.jsonl"],
  ["verify", "jsonl", "in.jsonl"],
  ["export", "--format", "ndjson", "--out", "out.jsonl"],
  ["export", "--format", "csv", "--out", "-"],
  ["tail"],
  ["dlq", "list"],
  ["dlq", "replay", "--all"],
  ["erase", "--user", "u", "--yes"],
  ["keys", "list"],
  ["subscriptions", "list"],
  ["audit"],
]
const hasDeadline = ([command]: string[]) => command !== "tail" && command !== "erase"

/** A server that accepts connections, and never answers. */
async function startSilence(): Promise<{ server: Server; address: string }> {
  const server = createServer((socket) => socket.on("error", () => {}))
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  return { server, address: `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}` }
}

// They wait for what does not come, so that they may wait side by side.
describe.concurrent("every command", () => {
  let parent: string
  beforeAll(async () => {
    parent = await mkdtemp(join(tmpdir(), "signal-ingest-exits-"))
  })
  afterAll(() => rm(parent, { recursive: true, force: true }))

  async function folderWithInput(): Promise<string> {
    const path = await mkdtemp(join(parent, "run-"))
    await writeFile(join(path, "in.jsonl"), SIGNAL)
    await writeFile(join(path, "scores.jsonl"), SCORE)
    return path
  }

  it.each(COMMANDS)("ends with 3 and one sentence where nobody answers: %s %s", async (...args) => {
    const deadline = hasDeadline(args) ? ["--deadline", "1"] : []
    const ended = await run(await folderWithInput(), [...args, ...deadline], { SIGNAL_INGEST_URL: NOBODY })
    expect([ended.code, ended.err]).toEqual([3, expect.stringMatching(/^Gave up: no answer within/m)])
    expect(ended.err).not.toMatch(/^\s+at /m)
  })

  it.each(COMMANDS)(
    "ends with 130 by Ctrl-C and 143 by SIGTERM while the service is silent: %s %s",
    async (...args) => {
      const path = await folderWithInput()
      const { server, address } = await startSilence()
      for (const [signal, code] of [
        ["SIGINT", 130],
        ["SIGTERM", 143],
      ] as const) {
        const connected = once(server, "connection")
        const { child, ended } = start(path, args, { SIGNAL_INGEST_URL: address })
        await connected
        child.kill(signal)
        expect(await ended).toBe(code)
      }
      server.close()
    },
  )

  it.each([
    ["SIGINT", 130, "earliest"],
    ["SIGTERM", 143, "latest"],
  ] as const)("ends by %s with %d while the broker is silent: consume kafka --from %s", async (...row) => {
    const [signal, code, from] = row
    const { server, address } = await startSilence()
    const connected = once(server, "connection")
    const brokers = new URL(address).host
    const args = ["consume", "kafka", "--brokers", brokers, "--topic", "t", "--group", "g", "--from", from]
    const { child, ended } = start(await folderWithInput(), args)
    await connected
    child.kill(signal)
    expect(await ended).toBe(code)
    server.close()
  })

  it.each(COMMANDS)("runs from its source files, too: %s %s", async (...args) => {
    const { server, address } = await startSilence()
    const connected = once(server, "connection")
    const child = spawn(process.execPath, [SOURCE, ...args], {
      cwd: await folderWithInput(),
      env: bareEnvironment({ SIGNAL_INGEST_URL: address }),
      stdio: "ignore",
    })
    const ended = once(child, "close")
    await Promise.race([connected, ended])
    child.kill("SIGTERM")
    expect(await ended).toEqual([143, null])
    server.close()
  })
})
