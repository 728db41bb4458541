import { type Context, Hono } from "hono"
import { createMiddleware } from "hono/factory"
import type { KafkaRecord } from "../../bridges/kafka/record.ts"
import { mapKafkaRecord, readKafkaRecords } from "../../bridges/kafka/requests.ts"
import { standardWebhookFault } from "../../bridges/kafka/standard-webhooks.ts"
import { Unreadable } from "../../signals/shape-errors.ts"
import { decodeUtf8 } from "../../signals/utf8.ts"
import { identifyCaller, requireScope } from "../auth.ts"
import { decodeBody, mediaType, readSent } from "../body.ts"
import type { App } from "../context.ts"
import { answerDelivery } from "../deliveries.ts"
import { limitRate } from "../limits.ts"
import { methodNotAllowed, tooManySignals, unauthorized, unsupportedRecords } from "../problems.ts"

/** Lets in who signs by Standard Webhooks; everyone else shows a bearer key. */
const identifySender = createMiddleware<App>(async (c, next) => {
  const signature = c.req.header("webhook-signature")
  if (signature === undefined) return identifyCaller(c, next)
  const sent = await readSent(c)
  const fault = await standardWebhookFault({
    id: c.req.header("webhook-id"),
    timestamp: c.req.header("webhook-timestamp"),
    signature,
    body: sent,
    secrets: c.get("settings").webhooks.standardSecrets,
    nowSeconds: Math.floor(Date.now() / 1000),
  })
  if (fault) throw unauthorized(fault)
  c.set("sent", sent)
  c.set("caller", { name: "webhook:kafka", scopes: ["ingest"] })
  await next()
})

/** POST /webhooks/kafka: records as Kafka's HTTP sinks, its REST proxies and CloudEvents send them. */
export const kafkaWebhook = new Hono<App>()
  .post("/", identifySender, requireScope("ingest"), limitRate, async (c) => {
    const { limits, webhooks } = c.get("settings")
    const records = await readRecords(c)
    if (records.length > limits.maxSignals) throw tooManySignals(limits.maxSignals)
    const delivered = records.map((record) => mapKafkaRecord(record, webhooks.kafkaMapping))
    return c.json(await answerDelivery(c, { source: "kafka", records, delivered }))
  })
  .all("/", () => {
    throw methodNotAllowed("POST")
  })

async function readRecords(c: Context<App>): Promise<KafkaRecord[]> {
  const sent = c.get("sent") ?? (await readSent(c))
  // A sink sends nothing at all for a tombstone.
  const bytes = sent.length === 0 ? sent : decodeBody(c, sent)
  try {
    const request = { headers: c.req.raw.headers, text: decodeUtf8(bytes), cluster: c.req.query("cluster") }
    const records = readKafkaRecords(request)
    if (records) return records
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error
    return [{ value: bytes.toBase64(), fault: "the body is not UTF-8" }]
  }
  throw unsupportedRecords(mediaType(c))
}
