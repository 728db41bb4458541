import { createExecutionContext } from "cloudflare:test"
import { afterEach, expect, it, vi } from "vitest"
import { app } from "../../../../src/app.ts"
import { entrance } from "../../../../src/http/body/entrance.ts"
import service from "../../../../src/index.ts"
import { bindings, freshConversation } from "../../service.ts"

afterEach(() => {
  vi.restoreAllMocks()
})

const NAMES = ["one", "two"]

async function settings() {
  const digest = async (key: string) =>
    new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key))).toHex()
  const keys = await Promise.all(
    NAMES.map(async (name) => ({ name, sha256: await digest(`${name}-key`), scopes: ["ingest"] })),
  )
  return {
    ...bindings,
    OPEN_ACCESS: "false",
    API_KEYS: JSON.stringify(keys),
    WEBHOOK_SECRET: `whsec_${new Uint8Array(32).toBase64()}`,
  }
}

const requestOf = (path: string, headers: Record<string, string>, body: BodyInit) =>
  new Request(`http://signal-ingest.test${path}`, { method: "POST", headers, body })

/** Sends a request past the entrance, whose own bound depends on how busy the machine is. */
const hold = async (path: string, headers: Record<string, string>) =>
  app.fetch(
    requestOf(path, { ...headers, "Content-Length": "100000" }, silent()),
    await settings(),
    createExecutionContext(),
  )

const bearer = (name: string) => ({ Authorization: `Bearer ${name}-key`, "Content-Type": "application/json" })
const UNPROVED = {
  "webhook-id": "x",
  "webhook-timestamp": String(Math.floor(Date.now() / 1000)),
  "webhook-signature": `v1,${new Uint8Array(32).toBase64()}`,
}

/** A body of which nothing comes. */
const silent = () => new ReadableStream()

/** Stores a signal of another sender. */
async function store() {
  const body = JSON.stringify({ context_window_id: freshConversation() })
  const request = requestOf("/api/signals", bearer("one"), body)
  return service.fetch(
    request as Request<unknown, IncomingRequestCfProperties>,
    await settings(),
    createExecutionContext(),
  )
}

it.each([
  ["without a valid signature", "/webhooks/kafka", UNPROVED],
  ["with another key", "/api/signals/batch", bearer("two")],
] as const)("400 bodies of one sender %s that do not come refuse nobody else", async (_, path, headers) => {
  vi.spyOn(console, "log").mockImplementation(() => {})
  let ended = 0
  const held = Array.from({ length: 400 }, () => hold(path, headers).finally(() => ended++))
  // 64 arrive, and 256 wait. Those beyond the sender's half are refused at once.
  await vi.waitFor(() => expect(ended).toBe(80), { timeout: 20_000 })
  expect((await store()).status).toBe(201)
  expect(ended).toBe(80)
  await Promise.all(held)
})

it("a request is paused at the entrance while its body arrives", async () => {
  vi.spyOn(console, "log").mockImplementation(() => {})
  const [pause, resume] = [vi.spyOn(entrance, "pause"), vi.spyOn(entrance, "resume")]
  expect((await store()).status).toBe(201)
  expect(pause).toHaveBeenCalledTimes(1)
  expect(resume).toHaveBeenCalledTimes(1)
})
