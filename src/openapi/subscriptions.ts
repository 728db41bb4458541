import { SubscriptionPath } from "../http/request/params.ts"
import { addressRefused, nameTaken, notFound, tooManySubscriptions } from "../http/request/problems.ts"
import {
  DeliveryAttempt,
  NewSecret,
  NewSubscription,
  ResendRequest,
  SecretRequest,
  SubscriptionChange,
  SubscriptionList,
  SubscriptionRecord,
  SubscriptionRequest,
} from "../subscriptions/schema.ts"
import { TRANSACTION_ID } from "./examples.ts"
import { answer, examplesOf, operation, refusal } from "./operation.ts"

const ATTEMPT: DeliveryAttempt = {
  at: "2025-01-15T09:30:02.000000Z",
  webhook_id: "msg_c2lnbmFsLWluZ2VzdC1leGE",
  signals: 3,
  status: 200,
  error: null,
  ms: 41,
}

const FAILED: DeliveryAttempt = {
  ...ATTEMPT,
  at: "2025-01-15T09:31:00.000000Z",
  status: 503,
  error: "HTTP 503",
}

const SUBSCRIPTION: SubscriptionRecord = {
  id: TRANSACTION_ID,
  name: "escalations",
  url: "https://hooks.example.com/signals",
  format: "signals",
  filter: { escalate_flag: 1 },
  state: "active",
  created_at: "2025-01-15T09:30:00.123456Z",
  created_by: "operations",
  lag_seconds: 0,
  delivered_signals: 3,
  failed_attempts: 0,
  failing_since: null,
  next_attempt_at: null,
  previous_secret_until: null,
  last_answers: [ATTEMPT],
}

const FAILING: SubscriptionRecord = {
  ...SUBSCRIPTION,
  lag_seconds: 12.5,
  failed_attempts: 1,
  failing_since: FAILED.at,
  next_attempt_at: "2025-01-15T09:31:05.700000Z",
  last_answers: [FAILED, ATTEMPT],
}

const SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

const TAG = "Subscriptions"

const UNREADABLE_ID = {
  subscription_id: [
    {
      type: "uuid_parsing",
      loc: ["path", "subscription_id"],
      msg: "Input should be a valid UUID",
      input: "latest",
    },
  ],
}

/** The parts that operations on one subscription share. */
const ONE = {
  tag: TAG,
  scope: "admin" as const,
  params: { path: SubscriptionPath },
  unreadable: UNREADABLE_ID,
}

const UNKNOWN = refusal("No subscription has this id.", {
  unknown: notFound("No subscription has this id."),
})

const bodyOf = (schema: Parameters<typeof answer>[1], examples: Record<string, unknown>) => ({
  content: { "application/json": { schema, examples: examplesOf(examples) } },
})

export const createSubscription = operation({
  id: "createSubscription",
  tag: TAG,
  summary: "Have new signals sent to an address",
  description:
    "The service calls `url` with the signals that pass `filter`, in commit order and at least once, beginning after the newest signal. " +
    "Each call is signed by Standard Webhooks with the secret, which only this answer shows.",
  scope: "admin",
  body: {
    required: true,
    ...bodyOf(SubscriptionRequest, {
      escalations: {
        name: "escalations",
        url: "https://hooks.example.com/signals",
        filter: { escalate_flag: 1 },
      },
    }),
  },
  answers: {
    201: answer(
      "Created.",
      NewSubscription,
      { created: { ...SUBSCRIPTION, delivered_signals: 0, last_answers: [], secret: SECRET } },
      { Location: { description: "The subscription.", schema: { type: "string" } } },
    ),
  },
  unreadable: {
    address: addressRefused("must have a public host"),
    "name taken": nameTaken(),
    "too many": tooManySubscriptions(),
  },
})

export const listSubscriptions = operation({
  id: "listSubscriptions",
  tag: TAG,
  summary: "List subscriptions by name: state, lag, last answers",
  scope: "admin",
  answers: {
    200: answer("All of them.", SubscriptionList, { two: { subscriptions: [SUBSCRIPTION, FAILING] } }),
  },
})

export const getSubscription = operation({
  ...ONE,
  id: "getSubscription",
  summary: "One subscription",
  answers: { 200: answer("The subscription.", SubscriptionRecord, { failing: FAILING }), 404: UNKNOWN },
})

export const changeSubscription = operation({
  ...ONE,
  id: "changeSubscription",
  summary: "Change, pause or resume a subscription",
  description: "What is left out stays. It keeps its position in the feed.",
  body: {
    required: true,
    ...bodyOf(SubscriptionChange, { pause: { state: "paused" }, resume: { state: "active" } }),
  },
  answers: { 200: answer("The subscription.", SubscriptionRecord, { changed: SUBSCRIPTION }), 404: UNKNOWN },
  unreadable: { ...UNREADABLE_ID, address: addressRefused("must be https"), "name taken": nameTaken() },
})

export const deleteSubscription = operation({
  ...ONE,
  id: "deleteSubscription",
  summary: "Delete a subscription",
  description: "A call that is under way still ends.",
  answers: {
    200: answer("The subscription as it was.", SubscriptionRecord, { deleted: SUBSCRIPTION }),
    404: UNKNOWN,
  },
})

export const testSubscription = operation({
  ...ONE,
  id: "testSubscription",
  summary: "Send a test call now",
  description:
    "A signed call of the type `test` without signals. It changes nothing, whatever the answer is.",
  answers: {
    200: answer("What the receiver answered.", DeliveryAttempt, {
      accepted: { ...ATTEMPT, signals: 0 },
      "no answer": { ...ATTEMPT, signals: 0, status: null, error: "no answer in 10 seconds", ms: 10_000 },
    }),
    404: UNKNOWN,
  },
})

export const replaceSecret = operation({
  ...ONE,
  id: "replaceSubscriptionSecret",
  summary: "Give a subscription a new secret",
  description: "Calls are signed with both, until the overlap ends.",
  body: bodyOf(SecretRequest, { "an hour": { overlap_seconds: 3600 } }),
  answers: {
    200: answer("The new secret.", NewSecret, {
      rotated: { secret: SECRET, previous_secret_until: "2025-01-15T10:30:00.000000Z" },
    }),
    404: UNKNOWN,
  },
})

export const resendSignals = operation({
  ...ONE,
  id: "resendSignals",
  summary: "Send again what was stored since a time",
  description:
    "Moves the position back (or on) to that time; up to two minutes of earlier signals can come along. A signal that comes again has its id.",
  body: { required: true, ...bodyOf(ResendRequest, { "a morning": { since: "2025-01-15T08:00:00Z" } }) },
  answers: { 200: answer("The subscription.", SubscriptionRecord, { moved: FAILING }), 404: UNKNOWN },
  unreadable: {
    ...UNREADABLE_ID,
    since: [
      {
        type: "datetime_parsing",
        loc: ["body", "since"],
        msg: "Input should be a valid datetime, input is too short",
      },
    ],
  },
})
