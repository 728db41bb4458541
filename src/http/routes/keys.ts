import { zValidator } from "@hono/zod-validator"
import { type Context, Hono } from "hono"
import { uuidv7 } from "uuidv7"
import type * as z from "zod"
import { CopyNotWritten, spreadKeys } from "../../access/keys.ts"
import { errorForLog } from "../../errors.ts"
import type { DayLimits } from "../../isolate/day-quota.ts"
import { apiKeyOf, hintOf, type KeyConflict, RANDOM_BYTES } from "../../keys/form.ts"
import { KeyLimits, type KeyRecord, NewKey, Rotation } from "../../keys/records.ts"
import {
  findKey,
  insertKey,
  insertRotation,
  type KeyToMake,
  limitKeys,
  listKeys,
  revokeKey,
  usageOf,
} from "../../store/access/keys.ts"
import { DatabaseError } from "../../store/database/errors.ts"
import { readRequest } from "../body/requests.ts"
import { keySourceOf, requireKey, requireScope } from "../request/auth.ts"
import { type App, noteOutcome } from "../request/context.ts"
import { KeyPath, LedgerQuery, refuseShape, UsageQuery } from "../request/params.ts"
import { forbidden, keyConflict, keyEndInDoubt, keyMadeInDoubt, notFound } from "../request/problems.ts"

/**
 * The routes of keys that are made at run time: make, list, read, limit, rotate, revoke, and what
 * their callers sent. Only the answer that makes a key shows it.
 */
export const keys = new Hono<App>()
  .post("/", requireScope("admin"), requireKey, async (c) => {
    const { request } = await readRequest(c, NewKey, "key:")
    refuseScopesBeyond(c, request.scopes)
    const { key, toMake } = await newKey(c, request.expires_at)
    const { name, scopes } = request
    const limited = { ...toMake, name, scopes, limits: limitsOf(request) }
    const made = await insertKey(c.get("db"), limited).catch(refuseDoubt(keyMadeInDoubt))
    return answerMade(c, key, made)
  })
  .get("/", requireScope("admin"), zValidator("query", LedgerQuery, refuseShape), async (c) => {
    const { cursor, limit } = c.req.valid("query")
    const page = await listKeys(c.get("db"), { after: cursor, limit })
    return c.json({ keys: page.keys, next_cursor: page.next })
  })
  .get("/:key_id", requireScope("admin"), zValidator("param", KeyPath, refuseShape), async (c) =>
    c.json(await keyOf(c, c.req.valid("param").key_id)),
  )
  .patch(
    "/:key_id",
    requireScope("admin"),
    requireKey,
    zValidator("param", KeyPath, refuseShape),
    async (c) => {
      const { request } = await readRequest(c, KeyLimits, "limits:")
      const limited = await limitKeys(c.get("db"), c.req.valid("param").key_id, limitsOf(request))
      if (!limited) throw unknownKey()
      await spreadKeys(keySourceOf(c), c.get("db")).catch(noteUnwritten(c))
      return c.json(limited)
    },
  )
  .get(
    "/:key_id/usage",
    requireScope("admin"),
    zValidator("param", KeyPath, refuseShape),
    zValidator("query", UsageQuery, refuseShape),
    async (c) => {
      const { name } = await keyOf(c, c.req.valid("param").key_id)
      const { days } = c.req.valid("query")
      return c.json({ name, days: await usageOf(c.get("db"), name, days, new Date()) })
    },
  )
  .delete(
    "/:key_id",
    requireScope("admin"),
    requireKey,
    zValidator("param", KeyPath, refuseShape),
    async (c) => {
      const { key_id: id } = c.req.valid("param")
      const revoked = await revokeKey(c.get("db"), id, c.get("caller").name).catch(refuseDoubt(keyEndInDoubt))
      if (!revoked) throw unknownKey()
      await spreadKeys(keySourceOf(c), c.get("db"), id).catch(refuseUnwritten(c))
      return c.json(revoked)
    },
  )
  .post(
    "/:key_id/rotate",
    requireScope("admin"),
    requireKey,
    zValidator("param", KeyPath, refuseShape),
    async (c) => {
      const { request } = await readRequest(c, Rotation, "rotation:")
      const former = await keyOf(c, c.req.valid("param").key_id)
      refuseScopesBeyond(c, former.scopes)
      const { key, toMake } = await newKey(c, request.expires_at)
      const rotation = { ...toMake, former: former.id, formerExpiresAt: request.former_expires_at ?? null }
      const made = await insertRotation(c.get("db"), rotation).catch(refuseDoubt(keyMadeInDoubt))
      return answerMade(c, key, made)
    },
  )

/** A key must not make one that may do more than itself. */
function refuseScopesBeyond(c: Context<App>, scopes: KeyRecord["scopes"]): void {
  const lacking = scopes.find((scope) => !c.get("caller").scopes.includes(scope))
  if (lacking !== undefined) throw forbidden(lacking)
}

async function newKey(
  c: Context<App>,
  expiresAt: string | null | undefined,
): Promise<{ key: string; toMake: KeyToMake }> {
  const key = apiKeyOf(crypto.getRandomValues(new Uint8Array(RANDOM_BYTES)))
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key))
  return {
    key,
    toMake: {
      id: uuidv7(),
      sha256: new Uint8Array(digest).toHex(),
      hint: hintOf(key),
      createdBy: c.get("caller").name,
      expiresAt: expiresAt ?? null,
    },
  }
}

/** Answers with the key. It works without the copy, which the sweep writes again. */
async function answerMade(c: Context<App>, key: string, made: KeyRecord | KeyConflict): Promise<Response> {
  if (typeof made === "string") throw keyConflict(made)
  await spreadKeys(keySourceOf(c), c.get("db")).catch(noteUnwritten(c))
  c.header("Location", `/api/keys/${made.id}`)
  return c.json({ ...made, key }, 201)
}

const limitsOf = ({ signals_per_day, bytes_per_day }: z.infer<typeof KeyLimits>): DayLimits => ({
  signals: signals_per_day ?? null,
  bytes: bytes_per_day ?? null,
})

const noteUnwritten = (c: Context<App>) => (error: unknown) => {
  if (!(error instanceof CopyNotWritten)) throw error
  noteOutcome(c, { error: errorForLog(error) })
}

async function keyOf(c: Context<App>, id: string): Promise<KeyRecord> {
  const found = await findKey(c.get("db"), id)
  if (!found) throw unknownKey()
  return found
}

const unknownKey = () => notFound("No key has this id.")

const refuseDoubt = (problem: typeof keyMadeInDoubt) => (error: unknown) => {
  throw error instanceof DatabaseError && error.mayHaveRun ? problem() : error
}

/** While the copy has the key, an isolate that reaches only the bucket lets it in. */
const refuseUnwritten = (c: Context<App>) => (error: unknown) => {
  if (!(error instanceof CopyNotWritten)) throw error
  noteOutcome(c, { error: errorForLog(error) })
  throw keyEndInDoubt()
}
