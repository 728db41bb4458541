import { waitUntil } from "cloudflare:workers"
import type { Context } from "hono"
import { createMiddleware } from "hono/factory"
import { findLiveKey, type KeySource } from "../../access/keys.ts"
import type { ApiKey } from "../../config.ts"
import { ANONYMOUS_NAME, hasKeyForm } from "../../keys/form.ts"
import { SCOPES, type Scope } from "../../signals/rules.ts"
import type { App, Caller } from "./context.ts"
import { forbidden, keyNotChecked, keyRequired, unauthorized } from "./problems.ts"

const ANONYMOUS: Caller = { name: ANONYMOUS_NAME, scopes: SCOPES }

/**
 * Authenticates a request by its bearer key (RFC 6750), and sets its caller.
 * Without a configured key every request is refused, unless the deployment has open access.
 */
export const identifyCaller = createMiddleware<App>(async (c, next) => {
  const { access } = c.get("settings")
  const key = /^Bearer +(\S+) *$/i.exec(c.req.header("Authorization") ?? "")?.[1]
  const caller = key === undefined ? undefined : await callerOf(c, key)
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

/** Refuses a caller without a key, whom only open access lets in. */
export const requireKey = createMiddleware<App>(async (c, next) => {
  if (c.get("caller").name === ANONYMOUS_NAME) throw keyRequired()
  await next()
})

/** Where this deployment's keys of the run time are. */
export const keySourceOf = (c: Context<App>): KeySource => ({
  database: c.get("settings").database,
  bucket: c.env.BUCKET,
  keepAlive: waitUntil,
})

/** The caller of a root key, which needs no database, or else of a key that was made at run time. */
async function callerOf(c: Context<App>, key: string): Promise<Caller | undefined> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key))
  const root = rootCaller(digest, c.get("settings").access.keys)
  if (root || !hasKeyForm(key)) return root
  const found = await findLiveKey(keySourceOf(c), digest)
  if (found === "cannot tell") throw keyNotChecked()
  if (found === "unknown") return undefined
  const { name, scopes, limits } = found
  return { name, scopes, ...((limits.signals ?? limits.bytes) !== null && { limits }) }
}

/** Compares digests in constant time, and compares every key, so that the time does not depend on a key. */
function rootCaller(digest: ArrayBuffer, keys: readonly ApiKey[]): Caller | undefined {
  let caller: Caller | undefined
  for (const { sha256, name, scopes } of keys) {
    if (crypto.subtle.timingSafeEqual(digest, Uint8Array.fromHex(sha256))) caller ??= { name, scopes }
  }
  return caller
}
