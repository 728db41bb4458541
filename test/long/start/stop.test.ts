import { Client } from "pg"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { freePort } from "../../../src/local/machine/ports.ts"
import { stillRunning } from "../../setup/processes.ts"
import { dataFolder, endAll, READY, start } from "./npm-start.ts"

let folder: string
let port: number

beforeEach(async () => {
  folder = await dataFolder()
  port = await freePort()
})
afterEach(() => endAll(folder), 60_000)

const here = () => ["--port", String(port), "--data", folder]

const post = (path: string, body: object, headers: Record<string, string> = {}) =>
  fetch(`http://localhost:${port}${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
  })

const AT_ONCE = 10
const conversation = (number: number) => `message ${number}`

/**
 * Sends a record each to the webhook, and one asynchronous batch. Returns the conversations of those that
 * were acknowledged.
 */
async function sendAll(count: number): Promise<string[]> {
  const acknowledged: string[] = []
  const sendOne = async (id: string) => {
    const response = await post("/webhooks/kafka", { records: [{ value: { context_window_id: id } }] })
    if (response.status === 200) acknowledged.push(id)
  }
  for (let number = 0; number < count; number += AT_ONCE)
    await Promise.all(
      Array.from({ length: Math.min(AT_ONCE, count - number) }, (_, index) =>
        sendOne(conversation(number + index)),
      ),
    )
  const batch = await post(
    "/api/signals/batch",
    { signals: [{ context_window_id: "asynchronous" }] },
    { Prefer: "respond-async" },
  )
  if (batch.status === 202) acknowledged.push("asynchronous")
  return acknowledged
}

/** What is in the database, once nothing more comes. */
async function stored(databaseUrl: string, expected: number): Promise<string[]> {
  const client = new Client({ connectionString: databaseUrl })
  await client.connect()
  const read = async () =>
    (
      await client.query<{ id: string }>(
        'select context_window_id as id from signals order by context_window_id collate "C"',
      )
    ).rows.map(({ id }) => id)
  try {
    await expect.poll(async () => (await read()).length).toBeGreaterThanOrEqual(expected)
    return await read()
  } finally {
    await client.end()
  }
}

const databaseUrl = (text: string) => /psql (\S+)/.exec(text)?.[1] ?? ""
const leftIn = (text: string) => /(\d+) messages? waits? in the queue/.exec(text)?.[1]

/** Each test starts the whole service twice. */
describe("an acknowledged message", () => {
  it("is stored when npm start is stopped immediately", async () => {
    const first = start(here())
    await first.saying(READY)
    const acknowledged = await sendAll(200)
    first.child.kill("SIGTERM")
    expect(await first.ended).toBe(0)
    expect(leftIn(first.said.text), "it waits until its queue is empty").toBeUndefined()
    const second = start([...here(), "--database-only"])
    await second.saying(READY)
    expect(acknowledged).toHaveLength(201)
    expect(await stored(databaseUrl(second.said.text), 201)).toEqual(acknowledged.toSorted())
    second.child.kill("SIGTERM")
    await second.ended
  })

  it("is stored at the next start when npm start and all of its processes are killed", async () => {
    const first = start(here())
    await first.saying(READY)
    const acknowledged = await sendAll(200)
    const all = [...(await first.processes()), { pid: first.child.pid ?? 0, parent: 0, command: "" }]
    for (const { pid } of all) {
      try {
        process.kill(pid, "SIGKILL")
      } catch {
        // One has ended with its parent.
      }
    }
    await expect.poll(() => stillRunning(all)).toEqual([])
    const second = start(here())
    await second.saying(READY)
    expect(acknowledged).toHaveLength(201)
    expect(await stored(databaseUrl(second.said.text), 201)).toEqual(acknowledged.toSorted())
    second.child.kill("SIGTERM")
    expect(await second.ended).toBe(0)
  })

  it("is counted when it can't be stored, and stored at the next start", async () => {
    const away = { DATABASE_URL: "postgresql://user:secret@db.invalid/signals", DATABASE_DEADLINE_MS: "200" }
    const first = start([...here(), "--open-access"], away)
    await first.saying("Not ready yet: ")
    const acknowledged = await sendAll(3)
    first.child.kill("SIGTERM")
    expect(await first.ended).toBe(0)
    expect(leftIn(first.said.text)).toBe("4")
    const second = start(here())
    await second.saying(READY)
    expect(await stored(databaseUrl(second.said.text), 4)).toEqual(acknowledged.toSorted())
    second.child.kill("SIGTERM")
    expect(await second.ended).toBe(0)
  })

  it("is left to the next start at a second Ctrl-C", async () => {
    const away = { DATABASE_URL: "postgresql://user:secret@db.invalid/signals", DATABASE_DEADLINE_MS: "200" }
    const first = start([...here(), "--open-access"], away)
    await first.saying("Not ready yet: ")
    await sendAll(1)
    first.child.kill("SIGINT")
    await expect
      .poll(async () => (await post("/api/signals", { context_window_id: "late" })).status)
      .toBe(503)
    // Two within half a second are one Ctrl-C: npm passes the terminal's on.
    await new Promise((resolve) => setTimeout(resolve, 600))
    first.child.kill("SIGINT")
    expect(await first.ended).toBe(0)
    expect(leftIn(first.said.text), "it does not wait until the messages are counted").toBeUndefined()
  })
})
