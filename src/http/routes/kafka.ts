import { zValidator } from "@hono/zod-validator"
import { type Context, Hono } from "hono"
import { createMiddleware } from "hono/factory"
import { mapKafkaRecord, withoutReservedKey } from "../../bridges/kafka/mapping.ts"
import type { KafkaRecord } from "../../bridges/kafka/record.ts"
import { isStructured, readKafkaRecords } from "../../bridges/kafka/requests.ts"
import { standardWebhookError, standardWebhookHeaderError } from "../../bridges/kafka/standard-webhooks.ts"
import { countContainers, decodeUtf8, readBody } from "../../signals/json.ts"
import { Unreadable } from "../../signals/shape-errors.ts"
import { admit, costOf } from "../body/admission.ts"
import { decodeBody, mediaType, readSent } from "../body/bytes.ts"
import { identifyCaller, requireScope } from "../request/auth.ts"
import type { App } from "../request/context.ts"
import { limitCaller, limitWork } from "../request/limits.ts"
import { KafkaQuery, refuseShape } from "../request/params.ts"
import { invalidShape, tooManySignals, unauthorized, unsupportedRecords } from "../request/problems.ts"
import { answerDelivery } from "./ingest-request.ts"

/** Accepts a Standard Webhooks signature; other requests need a bearer key. */
const identifySender = createMiddleware<App>(async (c, next) => {
  const signature = c.req.header("webhook-signature")
  if (signature === undefined) return identifyCaller(c, next)
  const headers = {
    id: c.req.header("webhook-id"),
    timestamp: c.req.header("webhook-timestamp"),
    signature,
    secrets: c.get("settings").webhooks.standardSecrets,
    nowSeconds: Math.floor(Date.now() / 1000),
  }
  const unsigned = standardWebhookHeaderError(headers)
  if (unsigned) throw unauthorized(unsigned)
  refuseUnsignedParts(c)
  const sent = await readSent(c)
  const forged = standardWebhookError(headers, sent)
  if (forged) throw unauthorized(forged)
  c.set("sent", sent)
  c.set("caller", { name: "webhook:kafka", scopes: ["ingest", "bridge"] })
  await next()
})

/**
 * A signature covers the id, the time and the body. Whoever has seen a signed call could send it again with
 * another cluster or other attributes, and its records would be stored once more.
 */
function refuseUnsignedParts(c: Context<App>): void {
  const isBinary = c.req.header("ce-specversion") !== undefined && !isStructured(mediaType(c))
  const loc = isBinary ? ["header", "ce-specversion"] : ["query", "cluster"]
  if (!isBinary && c.req.query("cluster") === undefined) return
  const part = isBinary ? "the attributes of a CloudEvent in binary mode" : "cluster"
  const msg = `webhook-signature does not cover ${part}. Send an API key instead of a signature${isBinary ? ", or the event in structured mode" : ""}`
  throw invalidShape([{ type: "not_signed", loc, msg }])
}

/** POST /webhooks/kafka: records in the formats of Kafka's HTTP sinks, REST proxies and CloudEvents. */
export const kafkaWebhook = new Hono<App>().post(
  "/",
  identifySender,
  requireScope("ingest"),
  limitCaller,
  zValidator("query", KafkaQuery, refuseShape),
  async (c) => {
    const { limits, webhooks } = c.get("settings")
    const records = await readRecords(c, c.req.valid("query").cluster)
    if (records.length > limits.maxSignals) throw tooManySignals(limits.maxSignals)
    await limitWork(c, { signals: records.length, bytes: c.get("bodyBytes") ?? 0 })
    // Who writes to a topic is not the sender that the service trusts.
    const delivered = records.map((record) =>
      withoutReservedKey(mapKafkaRecord(record, webhooks.kafkaMapping), record),
    )
    return c.json(await answerDelivery(c, { source: "kafka", records, delivered }))
  },
)

async function readRecords(c: Context<App>, cluster: string | undefined): Promise<KafkaRecord[]> {
  const sent = c.get("sent") ?? (await readSent(c))
  // A sink sends an empty body for a tombstone.
  const bytes = sent.length === 0 ? sent : await decodeBody(c, sent)
  await admit(c, costOf({ bytes: bytes.length, containers: countContainers(bytes) }))
  const { maxSignals: maxRecords } = c.get("settings").limits
  try {
    const isSigned = c.get("sent") !== undefined
    const request = { headers: c.req.raw.headers, text: decodeUtf8(bytes), cluster, maxRecords, isSigned }
    const records = readBody(() => readKafkaRecords(request))
    if (records) return records
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error
    return [{ value: bytes.toBase64(), fault: "the body is not UTF-8" }]
  }
  throw unsupportedRecords(mediaType(c))
}
