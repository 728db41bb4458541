import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest"
import { freePort } from "../../../src/local/machine/ports.ts"
import { type QueuedBundle, runQueuedBundle } from "../../setup/queued-bundle.ts"
import { type Storage, startStorage } from "../../setup/rig.ts"

const ROOT = fileURLToPath(new URL("../../../", import.meta.url))
const PAGE = await readFile(join(ROOT, "docs/subscriptions.md"), "utf8")

/** The first program of a language on the page. */
const program = (language: string) =>
  new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``).exec(PAGE)?.[1] ?? ""

let storage: Storage
let service: QueuedBundle
let folder: string

beforeAll(async () => {
  storage = await startStorage()
  service = await runQueuedBundle(inject("bundle"), {
    ...storage.bindings,
    SUBSCRIPTION_SECRET: "a-secret-of-the-tests-for-sealing-only",
    SUBSCRIPTION_LOCAL_RECEIVERS: "true",
  })
  // Below the project, so that Node finds its packages.
  await mkdir(join(ROOT, "test-results"), { recursive: true })
  folder = await mkdtemp(join(ROOT, "test-results/receivers-"))
})
afterAll(async () => {
  await service?.stop()
  await storage?.stop()
  if (folder) await rm(folder, { recursive: true, force: true })
})

async function call<Answer>(path: string, body: object): Promise<Answer> {
  const headers = { "Content-Type": "application/json" }
  const response = await fetch(service.address + path, {
    method: "POST",
    headers,
    body: JSON.stringify(body),
  })
  expect(response.ok, await response.clone().text()).toBe(true)
  return (await response.json()) as Answer
}

interface Created {
  id: string
  secret: string
}

/** Runs a receiver of the page, sends it three signals, and returns the lines that it printed. */
async function printedBy(start: (env: NodeJS.ProcessEnv) => ChildProcess): Promise<string[]> {
  const port = await freePort()
  const conversation = crypto.randomUUID()
  const { id, secret } = await call<Created>("/api/subscriptions", {
    name: conversation,
    url: `http://127.0.0.1:${port}/signals`,
    filter: { context_window_id: conversation, escalate_flag: 1 },
  })
  const child = start({ ...process.env, PORT: String(port), WEBHOOK_SECRET: secret })
  const ended = once(child, "exit")
  try {
    // It listens when it answers.
    await expect
      .poll(async () => (await call<{ status: number | null }>(`/api/subscriptions/${id}/test`, {})).status)
      .toBe(204)
    const lines: string[] = []
    const three = new Promise<void>((resolve) => {
      if (child.stdout)
        createInterface({ input: child.stdout }).on("line", (line) => {
          if (lines.push(line) === 3) resolve()
        })
    })
    const signals = [0, 1, 2].map((index) => ({
      ...{ context_window_id: conversation, raw_content: `é ${index}`, escalate_flag: 1 },
    }))
    await call("/api/signals/batch", { signals: [...signals, { ...signals[0], escalate_flag: 0 }] })
    await three
    const unsigned = fetch(`http://127.0.0.1:${port}/`, { method: "POST", body: "{}" })
    const status = await unsigned.then((response) => response.status).catch(() => "closed")
    expect(status).not.toBe(204)
    return lines
  } finally {
    child.kill()
    await ended
  }
}

const stdio: ["ignore", "pipe", "ignore"] = ["ignore", "pipe", "ignore"]
const EXPECTED = [/ é 0$/, / é 1$/, / é 2$/]

describe("the receivers of docs/subscriptions.md", () => {
  it("in JavaScript prints each signal as it comes, and refuses an unsigned call", async () => {
    const file = join(folder, "receiver.mjs")
    await writeFile(file, program("js"))
    const lines = await printedBy((env) => spawn(process.execPath, [file], { env, stdio }))
    for (const [index, expected] of EXPECTED.entries()) expect(lines[index]).toMatch(expected)
  })

  const hasLibrary = spawnSync("python3", ["-c", "import standardwebhooks"]).status === 0
  it.runIf(hasLibrary)("in Python prints each signal as it comes, and refuses an unsigned call", async () => {
    const file = join(folder, "receiver.py")
    await writeFile(file, program("python"))
    const lines = await printedBy((env) => spawn("python3", [file], { env, stdio }))
    for (const [index, expected] of EXPECTED.entries()) expect(lines[index]).toMatch(expected)
  })
})
