import * as z from "zod"
import { ComparedText } from "../signals/erasure.ts"
import { validationIssue } from "../signals/shape-errors.ts"

/** The most subscriptions of a deployment. The column `slot` has the same bound. */
export const MAX_SUBSCRIPTIONS = 100

/** What a call holds: `signals` as JSON, or a message for an incoming webhook of Slack. */
const FORMATS = ["signals", "slack"] as const
export type Format = (typeof FORMATS)[number]

/** `disabled`: the receiver failed for three days, or gave its address up. */
export const STATES = ["active", "paused", "disabled"] as const
export type SubscriptionState = (typeof STATES)[number]

/** How long a former secret still signs, by default and at most. */
const OVERLAP_SECONDS = 24 * 60 * 60
const MAX_OVERLAP_SECONDS = 7 * OVERLAP_SECONDS

const MAX_URL_CHARACTERS = 2048
const MAX_NAME_CHARACTERS = 100
/** An import of old signals sends no message to a channel, unless the filter asks for it. */
export const SLACK_AGE_SECONDS = 3600
/** A century. */
const MAX_AGE_SECONDS = 3_155_760_000

const Score = z.number().min(0).max(1)

export const SubscriptionFilter = z
  .strictObject({
    escalate_flag: z.literal([0, 1]).optional(),
    min_score: Score.optional().meta({ description: "Signals with this `signal_score` or a higher one." }),
    max_score: Score.optional().meta({ description: "Signals with this `signal_score` or a lower one." }),
    signal_source: ComparedText.optional(),
    context_window_id: ComparedText.optional(),
    user_id: ComparedText.optional(),
    agent_id: ComparedText.optional(),
    max_age_seconds: z.int().min(1).max(MAX_AGE_SECONDS).optional().meta({
      description:
        "Signals whose `time` was at most so long before they were stored: leaves out an import of old ones.",
    }),
  })
  .meta({ id: "SubscriptionFilter", description: "A signal must pass every part. {} passes each signal." })
/** Which signals a subscription is about. */
export type SubscriptionFilter = z.infer<typeof SubscriptionFilter>

/** It stands in the log and in labels of metrics, on one line. */
const Name = z
  .string()
  .min(1)
  .max(MAX_NAME_CHARACTERS)
  .refine(
    (name) => !/[\p{C}\p{Zl}\p{Zp}]/u.test(name),
    validationIssue("value_error", "Value error, a name must have no control characters"),
  )

const Url = z.string().min(1).max(MAX_URL_CHARACTERS).meta({
  description: "https, port 443 or 8443, a public host. Redirects are not followed.",
  example: "https://hooks.example.com/signals",
})

export const SubscriptionRequest = z
  .strictObject({
    name: Name.meta({ description: "Unique.", example: "escalations" }),
    url: Url,
    filter: SubscriptionFilter.default({}),
    format: z
      .enum(FORMATS)
      .default("signals")
      .meta({
        description: `\`slack\`: a message of an incoming webhook, and \`max_age_seconds\` of ${SLACK_AGE_SECONDS} by default.`,
      }),
  })
  .meta({ id: "SubscriptionRequest" })
export type SubscriptionRequest = z.infer<typeof SubscriptionRequest>

export const SubscriptionChange = z
  .strictObject({
    name: Name.optional(),
    url: Url.optional(),
    filter: SubscriptionFilter.optional().meta({ description: "Replaces the whole filter." }),
    state: z.enum(["active", "paused"]).optional().meta({
      description: "`active` resumes from the saved position, at once, also when it was `disabled`.",
    }),
  })
  .meta({ id: "SubscriptionChange" })
export type SubscriptionChange = z.infer<typeof SubscriptionChange>

export const SecretRequest = z
  .strictObject({
    overlap_seconds: z.int().min(0).max(MAX_OVERLAP_SECONDS).default(OVERLAP_SECONDS).meta({
      description: "How long calls are also signed with the former secret.",
    }),
  })
  .meta({ id: "SecretRequest" })

export const ResendRequest = z
  .strictObject({
    since: z.string().meta({
      description: "The time of storing from which signals are sent again. ISO 8601; no offset means UTC.",
      example: "2025-01-15T09:30:00Z",
      format: "date-time",
    }),
  })
  .meta({ id: "ResendRequest" })

const instant = z.iso
  .datetime()
  .meta({ description: "UTC, microseconds.", example: "2025-01-15T09:30:00.000000Z" })

export const DeliveryAttempt = z
  .object({
    at: instant,
    webhook_id: z.string(),
    signals: z.int(),
    status: z.int().nullable().meta({ description: "The status of the answer; null when there was none." }),
    error: z.string().nullable().meta({ description: "Why the call failed; null when it was accepted." }),
    ms: z.int(),
  })
  .meta({ id: "DeliveryAttempt" })
/** One call and its answer. Nothing of the answer but its status is kept. */
export type DeliveryAttempt = z.infer<typeof DeliveryAttempt>

/** The last answers that are kept. */
export const MAX_ANSWERS = 10

export const SubscriptionRecord = z
  .object({
    id: z.uuid(),
    name: z.string(),
    url: z.string().nullable().meta({
      description:
        "Of the format `slack` only its host, since its path is a secret. Null when SUBSCRIPTION_SECRET was changed since: set the address and the secret anew.",
    }),
    format: z.enum(FORMATS),
    filter: SubscriptionFilter,
    state: z.enum(STATES),
    created_at: instant,
    created_by: z.string().meta({ description: "Name of the key that created it." }),
    lag_seconds: z.number().min(0).meta({
      description: "The age of the oldest batch that it has not got past; 0 when it has seen everything.",
    }),
    delivered_signals: z.int(),
    failed_attempts: z.int().meta({ description: "Since the last call that was accepted." }),
    failing_since: instant.nullable(),
    next_attempt_at: instant.nullable(),
    previous_secret_until: instant.nullable().meta({
      description: "Until then calls are also signed with the former secret.",
    }),
    last_answers: z.array(DeliveryAttempt).meta({ description: `Newest first, up to ${MAX_ANSWERS}.` }),
  })
  .meta({ id: "Subscription" })
/** A subscription as the routes show it. */
export type SubscriptionRecord = z.infer<typeof SubscriptionRecord>

const secret = z.string().meta({
  description: "Shown once. `whsec_` and Base64, as Standard Webhooks has it.",
  example: `whsec_${"A".repeat(43)}=`,
})

export const NewSubscription = SubscriptionRecord.extend({ secret }).meta({ id: "NewSubscription" })

export const NewSecret = z
  .object({ secret, previous_secret_until: instant.nullable() })
  .meta({ id: "NewSecret" })

export const SubscriptionList = z.object({ subscriptions: z.array(SubscriptionRecord) })
