import { createExecutionContext } from "cloudflare:test"
import { expect, it } from "vitest"
import { app } from "../../../../src/app.ts"
import { bindings, freshConversation } from "../../service.ts"

const MIB = 1024 * 1024
const KEYS = [
  { name: "one", key: "one-key" },
  { name: "two", key: "two-key" },
  { name: "three", key: "three-key" },
]

async function settings() {
  const digest = async (key: string) =>
    new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key))).toHex()
  const keys = await Promise.all(
    KEYS.map(async ({ name, key }) => ({ name, sha256: await digest(key), scopes: ["ingest"] })),
  )
  return {
    ...bindings,
    API_KEYS: JSON.stringify(keys),
    WEBHOOK_SECRET: `whsec_${new Uint8Array(32).toBase64()}`,
  }
}

/** A body of which so many bytes arrive, and then no more. */
const stopping = (bytes: number) =>
  new ReadableStream({
    start: (controller) => controller.enqueue(new Uint8Array(bytes).fill(0x20)),
  })

/** A body that is over the limit, and then stops. */
const overlong = () =>
  new ReadableStream({
    start(controller) {
      for (let sent = 0; sent < 8; sent++) controller.enqueue(new Uint8Array(MIB).fill(0x20))
      controller.enqueue(new Uint8Array(1))
    },
  })

async function send(body: BodyInit, headers: Record<string, string>, path = "/api/signals/batch") {
  const request = new Request(`http://signal-ingest.test${path}`, { method: "POST", body, headers })
  return app.fetch(request, await settings(), createExecutionContext())
}

const bearer = (key: string) => ({ Authorization: `Bearer ${key}` })

/** A batch of 500 signals. */
const batch = () =>
  JSON.stringify({
    signals: Array.from({ length: 500 }, () => ({
      context_window_id: freshConversation(),
      raw_content: "x".repeat(300),
    })),
  })

const DECLARED = { "Content-Length": String(8 * MIB) }
const SIGNED = {
  "webhook-id": "x",
  "webhook-timestamp": String(Math.floor(Date.now() / 1000)),
  "webhook-signature": `v1,${new Uint8Array(32).toBase64()}`,
}

it("a refused body that is read to its end keeps no room", async () => {
  const held = [send(overlong(), bearer("three-key")), send(overlong(), bearer("three-key"))]
  let ended = 0
  for (const one of held) void one.then(() => ended++)
  const stored = await send(new Uint8Array(7 * MIB).fill(0x20), bearer("three-key"))
  expect([stored.status, ended]).toEqual([422, 0])
})

it.each([
  ["20 bodies of another caller of which nothing comes", 20, 0, bearer("two-key"), "/api/signals/batch"],
  ["20 bodies of another caller that stop after 7 MiB", 20, 7 * MIB, bearer("two-key"), "/api/signals/batch"],
  ["20 bodies with a false signature that stop after 7 MiB", 20, 7 * MIB, SIGNED, "/webhooks/kafka"],
  ["a body of its own caller that stops after 7 MiB", 1, 7 * MIB, bearer("one-key"), "/api/signals/batch"],
] as const)("a batch of 500 is stored at once beside %s", async (_, count, bytes, headers, path) => {
  const held = Array.from({ length: count }, () => send(stopping(bytes), { ...DECLARED, ...headers }, path))
  let ended = 0
  for (const one of held) void one.then(() => ended++)
  const stored = await send(batch(), { "Content-Type": "application/json", ...bearer("one-key") })
  expect([stored.status, ended]).toEqual([200, 0])
})
