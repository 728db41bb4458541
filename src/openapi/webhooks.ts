import * as z from "zod"
import { unauthorized, unsupportedEncoding, unsupportedRecords } from "../http/problems.ts"
import { DeliveryAnswer } from "../signals/responses.ts"
import {
  CLOUD_EVENT,
  FAILED_DELIVERY,
  KAFKA_RECORDS,
  QUEUED_DELIVERY,
  SIGNAL,
  SKIPPED_DELIVERY,
  SLACK_EVENT,
} from "./examples.ts"
import { answer, examplesOf, operation, refusal } from "./operation.ts"

const SlackRequest = z
  .looseObject({
    type: z.string().meta({ description: "`event_callback`, `url_verification` or `app_rate_limited`." }),
    challenge: z.string().optional().meta({ description: "Of a `url_verification`: what it wants to be told." }),
    event: z.looseObject({ type: z.string() }).optional().meta({ description: "Of an `event_callback`: a `message` is stored." }),
  })
  .meta({ id: "SlackRequest" })

const Challenge = z.object({ challenge: z.string() })

export const takeSlackEvent = operation({
  id: "takeSlackEvent",
  tag: "Webhooks",
  summary: "Take an event from Slack",
  description:
    "Proved by Slack's signature over the body, not by a key. A message is stored once, however often it is delivered.",
  params: {
    header: z.object({
      "X-Slack-Request-Timestamp": z.string().meta({ description: "Seconds since the epoch, at most 5 minutes from now." }),
      "X-Slack-Signature": z.string().meta({ description: "`v0=` and the HMAC-SHA256 of `v0:timestamp:body`, in hex." }),
    }),
  },
  body: {
    required: true,
    content: {
      "application/json": {
        schema: SlackRequest,
        examples: examplesOf({ message: SLACK_EVENT, handshake: { type: "url_verification", challenge: "3eZbrw1aB" } }),
      },
    },
  },
  answers: {
    200: answer("Taken in, or not to be stored; Slack need not send it again.", z.union([DeliveryAnswer, Challenge]), {
      queued: QUEUED_DELIVERY,
      skipped: SKIPPED_DELIVERY,
      handshake: { challenge: "3eZbrw1aB" },
    }),
    401: refusal("Not proved to come from Slack.", {
      unsigned: unauthorized("X-Slack-Request-Timestamp and X-Slack-Signature are required: only Slack may call this."),
      forged: unauthorized("X-Slack-Signature is not that of this body under the signing secret."),
    }),
  },
  unreadable: {
    type: [
      {
        type: "value_error",
        loc: ["body"],
        msg: "type should be url_verification, event_callback or app_rate_limited",
      },
    ],
  },
})

/** Any JSON. A union of object and array breaks the clients that openapi-generator makes for TypeScript. */
const KafkaValue = z.unknown().meta({ id: "KafkaValue", description: "A record, or an array of records." })

export const takeKafkaRecords = operation({
  id: "takeKafkaRecords",
  tag: "Webhooks",
  summary: "Take records from Kafka",
  description:
    "As Kafka's HTTP sinks, its REST proxies and CloudEvents send them. A value that is a signal is stored as it is; any other becomes one by the field mapping, with the whole value as its payload. " +
    "Instead of a key, a Standard Webhooks signature proves the sender. " +
    "A record that can't become a signal is acknowledged all the same, and kept as a dead letter.",
  scope: "ingest",
  params: {
    query: z.object({
      cluster: z.string().optional().meta({ description: "Tells clusters apart whose topics have the same names." }),
    }),
    header: z.object({
      "webhook-id": z.string().optional().meta({ description: "Of Standard Webhooks, like the two below." }),
      "webhook-timestamp": z.string().optional(),
      "webhook-signature": z.string().optional(),
    }),
  },
  body: {
    required: true,
    content: {
      "application/json": { schema: KafkaValue, examples: examplesOf({ signal: SIGNAL, "a list": [SIGNAL] }) },
      "application/vnd.kafka.json.v2+json": { schema: KafkaValue, examples: examplesOf({ "a REST proxy's": KAFKA_RECORDS }) },
      "application/cloudevents+json": { schema: KafkaValue, examples: examplesOf({ event: CLOUD_EVENT }) },
      "application/x-ndjson": {
        schema: z.string().meta({ description: "One value a line." }),
        examples: examplesOf({ "one line": `${JSON.stringify(SIGNAL)}\n` }),
      },
    },
  },
  answers: {
    200: answer("Taken in; the sender need not send it again.", DeliveryAnswer, {
      queued: QUEUED_DELIVERY,
      "one can't be stored": FAILED_DELIVERY,
    }),
    415: refusal("A content type or encoding that is not read here.", {
      "content type": unsupportedRecords("text/csv"),
      encoding: unsupportedEncoding("br"),
    }),
  },
  unreadable: { gzip: [{ type: "gzip_invalid", loc: ["body"], msg: "The body is not valid gzip" }] },
})
