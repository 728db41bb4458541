import { createMiddleware } from "hono/factory"
import type { ApiKey } from "../config.ts"
import { SCOPES, type Scope } from "../signals/scopes.ts"
import type { App, Caller } from "./context.ts"
import { forbidden, unauthorized } from "./problems.ts"

const ANONYMOUS: Caller = { name: "anonymous", scopes: SCOPES }

/**
 * Lets a request in by its bearer key, and names its caller (RFC 6750).
 * Without a key configured nobody gets in, unless the deployment says that it is open.
 */
export const identifyCaller = createMiddleware<App>(async (c, next) => {
  const { access } = c.get("settings")
  const key = /^Bearer +(\S+) *$/i.exec(c.req.header("Authorization") ?? "")?.[1]
  const caller = key === undefined ? undefined : await callerOf(key, access.keys)
  if (!caller && !access.open) {
    if (access.keys.length === 0) throw unauthorized("No API key is configured, so every call is refused. Set API_KEYS.")
    throw unauthorized(key === undefined ? "Send an API key as Authorization: Bearer KEY." : "This API key is not known.")
  }
  c.set("caller", caller ?? ANONYMOUS)
  await next()
})

/** Refuses a caller that has none of `scopes`. */
export const requireScope = (...scopes: [Scope, ...Scope[]]) =>
  createMiddleware<App>(async (c, next) => {
    if (!scopes.some((scope) => c.get("caller").scopes.includes(scope))) throw forbidden(scopes[0])
    await next()
  })

/** Digests of equal length are compared in constant time, and every key is looked at, so that time tells nothing of a key. */
async function callerOf(key: string, keys: readonly ApiKey[]): Promise<Caller | undefined> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key))
  let caller: Caller | undefined
  for (const { sha256, name, scopes } of keys) {
    if (crypto.subtle.timingSafeEqual(digest, Uint8Array.fromHex(sha256))) caller ??= { name, scopes }
  }
  return caller
}
