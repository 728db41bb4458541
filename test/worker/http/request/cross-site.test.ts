import { describe, expect, it } from "vitest"
import { app } from "../../../../src/app.ts"
import type { Bindings } from "../../../../src/bindings.ts"
import { bindings, countOf, freshConversation } from "../../service.ts"

const write = async (headers: Record<string, string>, settings: Partial<Bindings> = {}) => {
  const conversation = freshConversation()
  const body = JSON.stringify({ context_window_id: conversation })
  const init = {
    method: "POST",
    body,
    headers: { Host: "signals.example", "Content-Type": "application/json", ...headers },
  }
  const response = await app.request("http://signals.example/api/signals", init, { ...bindings, ...settings })
  return [response.status, await countOf(conversation)]
}

describe("a page of another site, with open access,", () => {
  it.each([
    { "Sec-Fetch-Site": "cross-site" },
    { "Sec-Fetch-Site": "same-site" },
    { "Sec-Fetch-Site": "cross-site", Origin: "https://evil.example" },
    { Origin: "https://evil.example" },
    { Origin: "https://signals.example.evil.example" },
    { Origin: "null" },
  ])("writes nothing with %j", async (headers) => expect(await write(headers)).toEqual([403, 0]))

  it.each(["/api/signals", "/api/batches", "/api/dead-letters", "/metrics"])(
    "reads nothing at %s",
    async (path) => {
      const response = await app.request(path, { headers: { "Sec-Fetch-Site": "cross-site" } }, bindings)
      expect(response.status).toBe(403)
    },
  )

  it("sends no webhook", async () => {
    const init = { method: "POST", body: "{}", headers: { "Sec-Fetch-Site": "cross-site" } }
    expect((await app.request("/webhooks/kafka", init, bindings)).status).toBe(403)
  })
})

describe("everyone else, with open access,", () => {
  it.each([
    {},
    { "Sec-Fetch-Site": "same-origin", Origin: "https://signals.example" },
    { "Sec-Fetch-Site": "none" },
    { Origin: "https://signals.example" },
  ])("writes with %j", async (headers) =>
    expect(await write(headers as Record<string, string>)).toEqual([201, 1]),
  )
})

it("a page with a key may be of any site, since the key is its proof", async () => {
  const key = "page-key"
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key))
  const keys = [{ name: "page", sha256: new Uint8Array(digest).toHex(), scopes: ["ingest"] }]
  const headers = {
    "Sec-Fetch-Site": "cross-site",
    Origin: "https://app.example",
    Authorization: `Bearer ${key}`,
  }
  expect(await write(headers, { OPEN_ACCESS: "false", API_KEYS: JSON.stringify(keys) })).toEqual([201, 1])
})
