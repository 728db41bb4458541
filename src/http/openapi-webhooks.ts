import * as z from "zod"
import { DeliveryAnswer } from "../signals/responses.ts"
import { QUEUED_DELIVERY, SKIPPED_DELIVERY, SLACK_EVENT } from "./openapi-examples.ts"
import { answer, examplesOf, operation, refusal } from "./openapi-operation.ts"
import { unauthorized } from "./problems.ts"

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
  summary: "Take an event of Slack's Events API",
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
