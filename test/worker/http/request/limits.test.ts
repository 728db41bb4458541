import { describe, expect, it } from "vitest"
import { app } from "../../../../src/app.ts"
import type { Bindings } from "../../../../src/bindings.ts"
import toml from "../../../../wrangler.toml?raw"
import { bindings } from "../../service.ts"

const KEY = "a-limited-key"
const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(KEY))
const API_KEYS = JSON.stringify([
  { name: "limited", sha256: new Uint8Array(digest).toHex(), scopes: ["read"] },
])
const limiter = (success = true): RateLimit => ({ limit: async () => ({ success }) })

const LIMITED: Partial<Bindings> = {
  RATE_LIMIT: "2000",
  ADDRESS_RATE_LIMIT: "4000",
  RATE_LIMITER: limiter(),
  ADDRESS_RATE_LIMITER: limiter(),
}
const policyOf = async (path: string, settings: Partial<Bindings>, headers: Record<string, string> = {}) => {
  const response = await app.request(path, { headers }, { ...bindings, ...LIMITED, ...settings })
  return [response.status, response.headers.get("RateLimit-Policy"), response.headers.get("RateLimit")]
}
const KEYED = { OPEN_ACCESS: "false", API_KEYS }

describe("RateLimit-Policy", () => {
  it("names both limits for a caller with a key", async () =>
    expect(await policyOf("/api/signals?limit=1", KEYED, { Authorization: `Bearer ${KEY}` })).toEqual([
      200,
      '"address";q=4000;w=10, "caller";q=2000;w=10',
      null,
    ]))

  it.each([
    ["/api/signals?limit=1", 200, {}],
    ["/readyz", 200, {}],
    ["/api/signals", 401, KEYED],
    ["/api/signals", 429, { ADDRESS_RATE_LIMITER: limiter(false) }],
  ])("names the limit of an address at %s, also with status %d", async (path, status, settings) =>
    expect(await policyOf(path, settings)).toEqual([status, '"address";q=4000;w=10', null]),
  )

  it.each([
    ["/healthz", {}],
    ["/readyz", { ADDRESS_RATE_LIMIT: "" }],
    ["/readyz", { ADDRESS_RATE_LIMITER: undefined }],
  ])("is absent where nothing is limited, or the limits are not configured: %s %j", async (path, settings) =>
    expect(await policyOf(path, settings as Partial<Bindings>)).toEqual([200, null, null]),
  )

  it("has the limits of wrangler.toml", () => {
    for (const [limit, name] of [
      ["RATE_LIMIT", "RATE_LIMITER"],
      ["ADDRESS_RATE_LIMIT", "ADDRESS_RATE_LIMITER"],
    ]) {
      const [, said] = new RegExp(`^${limit} = "(\\d+)"$`, "m").exec(toml) ?? []
      const [, limited, period] =
        new RegExp(`^name = "${name}"\\n.*\\nsimple = \\{ limit = (\\d+), period = (\\d+) \\}`, "m").exec(
          toml,
        ) ?? []
      expect([said, period]).toEqual([limited, "10"])
    }
  })
})
