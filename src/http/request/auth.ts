import { createMiddleware } from "hono/factory"
import type { ApiKey } from "../../config.ts"
import { SCOPES, type Scope } from "../../signals/rules.ts"
import type { App, Caller } from "./context.ts"
import { forbidden, unauthorized } from "./problems.ts"

const ANONYMOUS: Caller = { name: "anonymous", scopes: SCOPES }

/**
 * Authenticates a request by its bearer key (RFC 6750), and sets its caller.
 * Without a configured key every request is refused, unless the deployment has open access.
 */
export const identifyCaller = createMiddleware<App>(async (c, next) => {
  const { access } = c.get("settings")
  const key = /^Bearer +(\S+) *$/i.exec(c.req.header("Authorization") ?? "")?.[1]
  const caller = key === undefined ? undefined : await callerOf(key, access.keys)
  if (!caller && !access.open) {
    if (access.keys.length === 0)
      throw unauthorized("No API key is configured, so every call is refused. Set API_KEYS.")
    throw unauthorized(
      key === undefined ? "Send an API key as Authorization: Bearer KEY." : "This API key is not known.",
    )
  }
  c.set("caller", caller ?? ANONYMOUS)
  await next()
})

/** Refuses a caller without any of `scopes`. */
export const requireScope = (...scopes: [Scope, ...Scope[]]) =>
  createMiddleware<App>(async (c, next) => {
    if (!scopes.some((scope) => c.get("caller").scopes.includes(scope))) throw forbidden(scopes[0])
    await next()
  })

/** Compares digests in constant time, and compares every key, so that the time does not depend on a key. */
async function callerOf(key: string, keys: readonly ApiKey[]): Promise<Caller | undefined> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key))
  let caller: Caller | undefined
  for (const { sha256, name, scopes } of keys) {
    if (crypto.subtle.timingSafeEqual(digest, Uint8Array.fromHex(sha256))) caller ??= { name, scopes }
  }
  return caller
}
