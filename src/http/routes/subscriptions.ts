import { waitUntil } from "cloudflare:workers"
import { zValidator } from "@hono/zod-validator"
import { type Context, Hono } from "hono"
import { createMiddleware } from "hono/factory"
import { uuidv7 } from "uuidv7"
import type * as z from "zod"
import { ConfigurationError } from "../../config.ts"
import { callReceiver, placeOf } from "../../deliver/run.ts"
import { knowActive, wake, wakeLater } from "../../deliver/wake.ts"
import { parseTimestamp } from "../../signals/timestamp.ts"
import { positionAt } from "../../store/signals/feed-time.ts"
import {
  changeSubscription,
  createSubscription,
  deleteSubscription,
  findSubscription,
  listSubscriptions,
  moveSubscription,
  replaceSecret,
  type StoredSubscription,
} from "../../store/subscriptions/records.ts"
import { addressError } from "../../subscriptions/address.ts"
import { testCall } from "../../subscriptions/call.ts"
import { attemptOf } from "../../subscriptions/plan.ts"
import {
  ResendRequest,
  SecretRequest,
  SLACK_AGE_SECONDS,
  SubscriptionChange,
  type SubscriptionRecord,
  SubscriptionRequest,
} from "../../subscriptions/schema.ts"
import { newSecret, seal, Unsealable, unseal } from "../../subscriptions/secrets.ts"
import { readRequest } from "../body/requests.ts"
import { requireScope } from "../request/auth.ts"
import type { App } from "../request/context.ts"
import { refuseShape, SubscriptionPath } from "../request/params.ts"
import { addressRefused, invalidShape, notFound } from "../request/problems.ts"

/** Tells the deliveries of a request that may have stored signals. */
export const wakeDeliveries = createMiddleware<App>(async (c, next) => {
  await next()
  const { mode, queued } = c.get("outcome") ?? {}
  if (mode === undefined || queued || c.res.status >= 300) return
  const { database, subscriptions } = c.get("settings")
  const isConfigured = subscriptions.secrets.length > 0
  wake({ database, isConfigured, deliveries: c.env.DELIVERIES }, waitUntil)
})

const path = zValidator("param", SubscriptionPath, refuseShape)

/** /api/subscriptions: who is called about new signals. */
export const subscriptions = new Hono<App>()
  .post("/", requireScope("admin"), async (c) => {
    const keys = sealingKeys(c)
    const { name, url, filter: asked, format } = await readBody(c, SubscriptionRequest)
    const filter = format === "slack" ? { max_age_seconds: SLACK_AGE_SECONDS, ...asked } : asked
    const id = uuidv7()
    const secret = newSecret()
    const created = await createSubscription(c.get("db"), {
      ...{ id, name, format, filter, createdBy: c.get("caller").name },
      url: await seal(keys, placeOf(id, "url"), allowed(c, url)),
      secret: await seal(keys, placeOf(id, "secret"), secret),
    })
    knowActive()
    c.header("Location", `/api/subscriptions/${id}`)
    return c.json({ ...(await shown(c, created)), secret }, 201)
  })
  .get("/", requireScope("admin"), async (c) => {
    sealingKeys(c)
    const all = await listSubscriptions(c.get("db"))
    return c.json({ subscriptions: await Promise.all(all.map((one) => shown(c, one))) })
  })
  .get("/:subscription_id", requireScope("admin"), path, async (c) => {
    sealingKeys(c)
    return c.json(await shown(c, await found(c, c.req.valid("param").subscription_id)))
  })
  .patch("/:subscription_id", requireScope("admin"), path, async (c) => {
    const keys = sealingKeys(c)
    const { subscription_id: id } = c.req.valid("param")
    const { url, ...changes } = await readBody(c, SubscriptionChange)
    const changed = await changeSubscription(c.get("db"), id, {
      ...changes,
      url: url && (await seal(keys, placeOf(id, "url"), allowed(c, url))),
    })
    return c.json(await shown(c, startAgain(c, changed)))
  })
  .delete("/:subscription_id", requireScope("admin"), path, async (c) => {
    sealingKeys(c)
    const deleted = await deleteSubscription(c.get("db"), c.req.valid("param").subscription_id)
    if (!deleted) throw unknown()
    return c.json(await shown(c, deleted))
  })
  .post("/:subscription_id/test", requireScope("admin"), path, async (c) => {
    sealingKeys(c)
    const subscription = await found(c, c.req.valid("param").subscription_id)
    const call = await testCall(subscription.id, subscription.format)
    const answer = await callReceiver(c.get("settings").subscriptions, subscription, call).catch((error) => {
      if (!(error instanceof Unsealable)) throw error
      return { status: null, error: error.message, retryAfterMs: undefined, ms: 0 }
    })
    return c.json(attemptOf(call, answer, new Date().toISOString().replace("Z", "000Z")))
  })
  .post("/:subscription_id/secret", requireScope("admin"), path, async (c) => {
    const keys = sealingKeys(c)
    const { subscription_id: id } = c.req.valid("param")
    const { overlap_seconds: overlapSeconds } = await readBody(c, SecretRequest)
    const secret = newSecret()
    const sealed = await seal(keys, placeOf(id, "secret"), secret)
    const changed = await replaceSecret(c.get("db"), id, { secret: sealed, overlapSeconds })
    if (!changed) throw unknown()
    return c.json({ secret, previous_secret_until: changed.previous_secret_until })
  })
  .post("/:subscription_id/resend", requireScope("admin"), path, async (c) => {
    sealingKeys(c)
    const { since: text } = await readBody(c, ResendRequest)
    const since = parseTimestamp(text)
    if (typeof since !== "string")
      throw invalidShape([{ type: "datetime_parsing", loc: ["body", "since"], msg: since.message }])
    const { subscription_id: id } = c.req.valid("param")
    await found(c, id)
    const moved = await moveSubscription(c.get("db"), id, await positionAt(c.get("db"), since))
    return c.json(await shown(c, startAgain(c, moved)))
  })

const readBody = async <Schema extends z.ZodType>(c: Context<App>, schema: Schema) =>
  (await readRequest(c, schema, "subscription:")).request

/** @throws {ConfigurationError} the deployment has no SUBSCRIPTION_SECRET */
function sealingKeys(c: Context<App>): readonly string[] {
  const { secrets } = c.get("settings").subscriptions
  if (secrets.length === 0)
    throw new ConfigurationError("Wrong configuration. SUBSCRIPTION_SECRET: must be set for subscriptions")
  return secrets
}

function allowed(c: Context<App>, url: string): string {
  const error = addressError(url, { local: c.get("settings").subscriptions.allowLocal })
  if (error) throw addressRefused(error)
  return url
}

const unknown = () => notFound("No subscription has this id.")

async function found(c: Context<App>, id: string): Promise<StoredSubscription> {
  const subscription = await findSubscription(c.get("db"), id)
  if (!subscription) throw unknown()
  return subscription
}

/** Starts a run for a subscription that has been changed. */
function startAgain(c: Context<App>, changed: StoredSubscription | undefined): StoredSubscription {
  if (!changed) throw unknown()
  waitUntil(wakeLater(c.env.DELIVERIES, 0))
  return changed
}

/** A subscription as the routes show it: with its address, without its secrets. */
async function shown(
  c: Context<App>,
  { sealedUrl, sealedSecrets: _, ...record }: StoredSubscription,
): Promise<SubscriptionRecord> {
  const { secrets } = c.get("settings").subscriptions
  const opened = await unseal(secrets, placeOf(record.id, "url"), sealedUrl).catch((error) => {
    if (error instanceof Unsealable) return null
    throw error
  })
  const url = opened !== null && record.format === "slack" ? `${new URL(opened).origin}/...` : opened
  return { ...record, url }
}
