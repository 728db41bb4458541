import { waitUntil } from "cloudflare:workers"
import { Hono } from "hono"
import { readSlackRequest } from "../../bridges/slack/events.ts"
import { slackHeaderError, slackSignatureError } from "../../bridges/slack/signature.ts"
import { countContainers, decodeUtf8, isFields, parseJson } from "../../signals/json.ts"
import type { DeliveryAnswer } from "../../signals/responses.ts"
import { connect } from "../../store/database/connection.ts"
import { admit, costOf } from "../body/admission.ts"
import { decodeBody, readSent } from "../body/bytes.ts"
import { type App, noteOutcome } from "../request/context.ts"
import { invalidShape, unauthorized } from "../request/problems.ts"
import { answerDelivery } from "./ingest-request.ts"

/** Slack retries a request without an answer within 3 seconds. */
const DEADLINE_MS = 2500

/**
 * An event has one message of at most 40,000 characters. A sender without the secret can make the service
 * hash this much.
 */
const MAX_EVENT_BYTES = 1024 * 1024

const NOTHING_TO_STORE: DeliveryAnswer = {
  state: "skipped",
  total_count: 0,
  accepted_count: 0,
  failed_count: 0,
  failures: [],
  skipped: { app_rate_limited: 1 },
}

/**
 * POST /webhooks/slack: Slack's Events API.
 *
 * @see https://docs.slack.dev/apis/events-api/
 */
export const slackWebhook = new Hono<App>().post("/", async (c) => {
  const { database, limits, webhooks } = c.get("settings")
  const headers = {
    timestamp: c.req.header("X-Slack-Request-Timestamp"),
    signature: c.req.header("X-Slack-Signature"),
    secrets: webhooks.slackSecrets,
    nowSeconds: Math.floor(Date.now() / 1000),
  }
  const unsigned = slackHeaderError(headers)
  if (unsigned) throw unauthorized(unsigned)
  const sent = await readSent(c, Math.min(MAX_EVENT_BYTES, limits.maxBodyBytes))
  const forged = slackSignatureError(headers, sent)
  if (forged) throw unauthorized(forged)
  c.set("caller", { name: "webhook:slack", scopes: ["ingest", "bridge"] })

  const bytes = await decodeBody(c, sent)
  await admit(c, costOf({ bytes: bytes.length, containers: countContainers(bytes) }))
  const body = parseJson(decodeUtf8(bytes))
  const request = readSlackRequest(body, { followEdits: webhooks.followSlackEdits })
  switch (request.type) {
    case "url_verification":
      return c.json({ challenge: request.challenge })
    case "app_rate_limited":
      noteOutcome(c, {
        mode: "delivery",
        total: 0,
        skipped: 1,
        kind: "app_rate_limited",
        error: `Slack holds events of team ${request.teamId} back`,
      })
      return c.json(NOTHING_TO_STORE)
    case "unreadable":
      throw invalidShape([{ type: "value_error", loc: ["body"], msg: request.error }])
    case "event_callback": {
      c.set(
        "db",
        connect(
          { ...database, deadlineMs: Math.min(DEADLINE_MS, database.deadlineMs) },
          { traffic: "writes", keepAlive: waitUntil },
        ),
      )
      const envelope = withoutSecrets(body as Record<string, unknown>)
      return c.json(
        await answerDelivery(c, { source: "slack", records: [envelope], delivered: [request.delivered] }),
      )
    }
  }
})

/**
 * The envelope for a dead letter: without the verification token, and without the text that an edit or a
 * deletion removed.
 */
function withoutSecrets({ token: _, ...envelope }: Record<string, unknown>): Record<string, unknown> {
  if (!isFields(envelope.event)) return envelope
  const { previous_message: __, ...event } = envelope.event
  return { ...envelope, event }
}
