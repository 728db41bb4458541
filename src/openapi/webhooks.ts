import * as z from "zod"
import type { ZodOpenApiPathItemObject } from "zod-openapi"
import { ACCEPT_ENCODING } from "../http/body/encodings.ts"
import { KafkaQuery } from "../http/request/params.ts"
import { unauthorized, unsupportedEncoding, unsupportedRecords } from "../http/request/problems.ts"
import { DeliveryAnswer } from "../signals/responses.ts"
import type { WebhookPath } from "../signals/sources.ts"
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
    challenge: z
      .string()
      .optional()
      .meta({ description: "Of a `url_verification`: the value to answer with." }),
    event: z
      .looseObject({ type: z.string() })
      .optional()
      .meta({ description: "Of an `event_callback`: a `message` is stored." }),
  })
  .meta({ id: "SlackRequest" })

const Challenge = z.object({ challenge: z.string() })

const takeSlackEvent = operation({
  id: "takeSlackEvent",
  tag: "Webhooks",
  summary: "Receive an event from Slack",
  description:
    "Slack's signature of the body authenticates the request; no key is needed. A message is stored once, even when Slack redelivers it.",
  params: {
    header: z.object({
      "X-Slack-Request-Timestamp": z
        .string()
        .meta({ description: "Seconds since the epoch, at most 5 minutes from now." }),
      "X-Slack-Signature": z
        .string()
        .meta({ description: "`v0=` and the HMAC-SHA256 of `v0:timestamp:body`, in hex." }),
    }),
  },
  body: {
    required: true,
    content: {
      "application/json": {
        schema: SlackRequest,
        examples: examplesOf({
          message: SLACK_EVENT,
          handshake: { type: "url_verification", challenge: "3eZbrw1aB" },
        }),
      },
    },
  },
  answers: {
    200: answer(
      "Accepted, or of a kind that is not stored; Slack must not send it again.",
      z.union([DeliveryAnswer, Challenge]),
      {
        queued: QUEUED_DELIVERY,
        skipped: SKIPPED_DELIVERY,
        handshake: { challenge: "3eZbrw1aB" },
      },
    ),
    401: refusal("The signature does not prove that Slack sent this.", {
      unsigned: unauthorized(
        "X-Slack-Request-Timestamp and X-Slack-Signature are required: only Slack may call this.",
      ),
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

const takeKafkaRecords = operation({
  id: "takeKafkaRecords",
  tag: "Webhooks",
  summary: "Receive records from Kafka",
  description:
    "Accepts the formats of Kafka's HTTP sinks, REST proxies and CloudEvents. A value that is a signal is stored unchanged; the field mapping makes a signal of any other value, with the whole value as its payload. " +
    "A Standard Webhooks signature can replace the key. " +
    "A record that cannot become a signal is acknowledged and kept as a dead letter.",
  scope: "ingest",
  params: {
    query: KafkaQuery,
    header: z.object({
      "webhook-id": z
        .string()
        .optional()
        .meta({ description: "Standard Webhooks, as the next two headers." }),
      "webhook-timestamp": z.string().optional(),
      "webhook-signature": z.string().optional(),
    }),
  },
  body: {
    required: true,
    content: {
      "application/json": {
        schema: KafkaValue,
        examples: examplesOf({ signal: SIGNAL, "a list": [SIGNAL] }),
      },
      "application/vnd.kafka.json.v2+json": {
        schema: KafkaValue,
        examples: examplesOf({ "a REST proxy's": KAFKA_RECORDS }),
      },
      "application/cloudevents+json": { schema: KafkaValue, examples: examplesOf({ event: CLOUD_EVENT }) },
      "application/x-ndjson": {
        schema: z.string().meta({ description: "One value on each line." }),
        examples: examplesOf({ "one line": `${JSON.stringify(SIGNAL)}\n` }),
      },
    },
  },
  answers: {
    200: answer("Accepted; the sender must not send it again.", DeliveryAnswer, {
      queued: QUEUED_DELIVERY,
      "one failed": FAILED_DELIVERY,
    }),
    415: refusal("A content type or encoding that the service does not read.", {
      "content type": unsupportedRecords("text/csv"),
      encoding: unsupportedEncoding("compress", ACCEPT_ENCODING),
    }),
  },
  unreadable: { gzip: [{ type: "gzip_invalid", loc: ["body"], msg: "The body is not valid gzip" }] },
})

/** The operation of each webhook, by its path. */
export const WEBHOOK_PATHS: Record<WebhookPath, ZodOpenApiPathItemObject> = {
  "/webhooks/slack": { post: takeSlackEvent },
  "/webhooks/kafka": { post: takeKafkaRecords },
}
