import { type ChildProcessByStdio, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Readable, Writable } from "node:stream"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Rig, startRig } from "../../setup/rig.ts"
import { startReceiver } from "../../setup/vitest/receiver.ts"

const ROOT = fileURLToPath(new URL("../../../", import.meta.url))
const textOf = (path: string) => readFileSync(join(ROOT, path), "utf8")
const hasPython =
  spawnSync("python3", ["-c", "import sys; assert sys.version_info >= (3, 10)"], { stdio: "ignore" })
    .status === 0

let rig: Rig
let folder: string

beforeAll(async () => {
  rig = await startRig({
    SUBSCRIPTION_SECRET: "a-secret-of-the-tests-for-sealing-only",
    SUBSCRIPTION_LOCAL_RECEIVERS: "true",
  })
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-examples-"))
})
afterAll(async () => {
  await rig?.stop()
  await rm(folder, { recursive: true, force: true })
})

type Program = ChildProcessByStdio<Writable, Readable, Readable>

const start = (command: string, file: string, env: Record<string, string> = {}): Program =>
  spawn(command, [join(ROOT, "examples", file)], {
    cwd: folder,
    env: {
      ...process.env,
      ...env,
      SIGNAL_INGEST_URL: rig.service.address,
      PYTHONPATH: join(ROOT, "python/src"),
    },
    stdio: "pipe",
  })

async function run(command: string, file: string, input = "", env: Record<string, string> = {}) {
  const program = start(command, file, env)
  let stdout = ""
  let stderr = ""
  program.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text))
  program.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text))
  program.stdin.end(input)
  const [code] = await once(program, "close")
  return { code, stdout, stderr }
}

describe("the examples", () => {
  it("are all run here", () => {
    const tested = readFileSync(import.meta.filename, "utf8")
    const files = readdirSync(join(ROOT, "examples")).filter((name) => /\.(ts|py)$/.test(name))
    expect(files.filter((name) => !tested.includes(`"${name}"`))).toEqual([])
    expect(files.filter((name) => !textOf("examples/README.md").includes(`(${name})`))).toEqual([])
  })

  it("that README prints are the files that run", () => {
    const readme = textOf("README.md")
    for (const file of ["first-batch.ts", "first_batch.py"])
      expect(readme).toContain(textOf(`examples/${file}`))
  })

  it("have escalations sent to Slack, also after a second run", async () => {
    const receiver = await startReceiver()
    try {
      const env = { SLACK_WEBHOOK_URL: receiver.at("slack") }
      for (let times = 0; times < 2; times++)
        expect(await run(process.execPath, "escalations-to-slack.ts", "", env)).toEqual({
          ...{ code: 0, stdout: "Slack has taken a test message.\n", stderr: "" },
        })
      const [, second] = receiver.calls("slack")
      expect(JSON.parse(second?.body ?? "")).toMatchObject({ text: expect.stringContaining("test") })
      const rows = await rig.query("select name, state, filter from subscriptions")
      expect(rows).toEqual([
        {
          name: "escalations-to-slack",
          state: "active",
          filter: { escalate_flag: 1, max_age_seconds: 3600 },
        },
      ])
    } finally {
      await receiver.stop()
    }
  })

  it("send a first batch from TypeScript", async () =>
    expect(await run(process.execPath, "first-batch.ts")).toEqual({
      code: 0,
      stdout: "stored 1 of 2\n",
      stderr: "1 signal_score must be between 0 and 1\n",
    }))

  it.skipIf(!hasPython)("send a first batch from Python", async () =>
    expect(await run("python3", "first_batch.py")).toEqual({
      code: 0,
      stdout: "stored 1 of 2\nsignal_score must be between 0 and 1\n",
      stderr: "",
    }),
  )

  it("send lines without loss, each once, also when the same program is killed and started again", async () => {
    const line = (index: number) =>
      `${JSON.stringify({ context_window_id: "lines", raw_content: `${index}`, dedupe_key: `line ${index}` })}\n`
    const killed = start(process.execPath, "send-without-loss.ts")
    for (let index = 0; index < 300; index++) killed.stdin.write(line(index))
    const stored = () =>
      rig.query<{ raw_content: string }>("select raw_content from signals where context_window_id = 'lines'")
    await expect.poll(async () => (await stored()).length).toBeGreaterThan(0)
    killed.kill("SIGKILL")
    await once(killed, "close")
    const rest = `${Array.from({ length: 300 }, (_, index) => line(index)).join("")}{"raw_content": "without"}\n`
    const { code, stderr } = await run(process.execPath, "send-without-loss.ts", rest)
    expect([code, stderr.includes("context_window_id")]).toEqual([0, true])
    expect(new Set((await stored()).map(({ raw_content }) => raw_content)).size).toBe(300)
    expect(await stored()).toHaveLength(300)
  })

  it("follow the feed, and go on where the former run ended", async () => {
    const send = (content: string) =>
      fetch(`${rig.service.address}/api/signals`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ context_window_id: "followed", raw_content: content }),
      })
    const seenBy = async (last: string) => {
      const program = start(process.execPath, "follow-the-feed.ts")
      let seen = ""
      for await (const text of program.stdout.setEncoding("utf8")) {
        seen += text
        if (seen.includes(last)) break
      }
      // The cursor is written after the page is printed.
      const saved = () =>
        existsSync(join(folder, "cursor")) ? readFileSync(join(folder, "cursor"), "utf8") : ""
      await expect.poll(saved).not.toBe(cursor)
      cursor = saved()
      program.kill("SIGKILL")
      return seen.split("\n").filter((line) => line.includes("followed"))
    }
    let cursor = ""
    await send("the first")
    expect(await seenBy("the first")).toEqual([expect.stringContaining("followed the first")])
    await send("the second")
    expect(await seenBy("the second")).toEqual([expect.stringContaining("followed the second")])
  })
})
