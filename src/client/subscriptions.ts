import { isAttempt, isNewSecret, isNewSubscription, isSubscription, isSubscriptions } from "./api/answers.ts"
import { encodeJson } from "./base/encode.ts"
import type { CallOptions } from "./http/request.ts"
import type { Transport } from "./http/transport.ts"

/** Which signals a subscription is about: those that pass every part. */
export interface SubscriptionFilter {
  escalate_flag?: 0 | 1 | undefined
  /** Inclusive, as `max_score`. */
  min_score?: number | undefined
  max_score?: number | undefined
  signal_source?: string | undefined
  context_window_id?: string | undefined
  user_id?: string | undefined
  agent_id?: string | undefined
  /** Signals whose `time` was at most so long before they were stored. */
  max_age_seconds?: number | undefined
}

/** What a call holds: `signals` as JSON, or a message for an incoming webhook of Slack. */
export type SubscriptionFormat = "signals" | "slack"

/** A subscription to create. */
export interface SubscriptionOptions {
  /** Unique. */
  name: string
  /** https, with port 443 or 8443, and a public host. */
  url: string
  /** Default: every signal; with the format `slack` those of the last hour. */
  filter?: SubscriptionFilter | undefined
  /** Default: `signals`. */
  format?: SubscriptionFormat | undefined
}

/** What to change; what is left out stays. */
export interface SubscriptionChange {
  name?: string | undefined
  url?: string | undefined
  /** Replaces the whole filter. */
  filter?: SubscriptionFilter | undefined
  /** `active` resumes from the saved position, also when it was `disabled`. */
  state?: "active" | "paused" | undefined
}

/** One call and its answer. */
export interface DeliveryAttempt {
  at: string
  webhook_id: string
  signals: number
  /** Null without an answer. */
  status: number | null
  /** Null when it was accepted. */
  error: string | null
  ms: number
}

export interface Subscription {
  id: string
  name: string
  /** Of the format `slack` only its host. Null when the service cannot open it any more. */
  url: string | null
  format: SubscriptionFormat
  filter: SubscriptionFilter
  state: "active" | "paused" | "disabled"
  created_at: string
  created_by: string
  /** The age of the oldest batch that it has not got past; 0 when it has seen everything. */
  lag_seconds: number
  delivered_signals: number
  /** Since the last call that was accepted. */
  failed_attempts: number
  failing_since: string | null
  next_attempt_at: string | null
  /** Until then calls are also signed with the former secret. */
  previous_secret_until: string | null
  /** Newest first, up to ten. */
  last_answers: DeliveryAttempt[]
}

/** A subscription that was just created, with its secret: no later answer has it. */
export interface NewSubscription extends Subscription {
  secret: string
}

/** The subscriptions of a service. Every method needs the scope `admin`. */
export class SubscriptionsClient {
  readonly #transport: Transport

  constructor(transport: Transport) {
    this.#transport = transport
  }

  /** Every subscription, by name. */
  async list(options: CallOptions = {}): Promise<Subscription[]> {
    const answer = await this.#transport.get("/api/subscriptions", { isExpected: isSubscriptions }, options)
    return (answer as { subscriptions: Subscription[] }).subscriptions
  }

  /** A subscription; undefined when none has this id. */
  async get(id: string, options: CallOptions = {}): Promise<Subscription | undefined> {
    return this.#transport.find<Subscription>(pathOf(id), isSubscription, options)
  }

  /**
   * Creates a subscription that begins after the newest signal. Its answer is the only one that has the
   * secret.
   *
   * @throws {ValidationError} the address must not be called, or the name is taken, also by an attempt of
   *   this call whose answer was lost: list the subscriptions, and give it a new secret
   * @throws {DeadlineError | AbortedError} it may be created: list the subscriptions
   */
  async add(subscription: SubscriptionOptions, options: CallOptions = {}): Promise<NewSubscription> {
    const text = encodeJson(subscription, "subscription")
    const exchange = { isExpected: isNewSubscription }
    return (await this.#transport.post("/api/subscriptions", text, exchange, options)) as NewSubscription
  }

  /** Changes, pauses or resumes a subscription. @throws {RequestError} none has this id */
  async change(id: string, change: SubscriptionChange, options: CallOptions = {}): Promise<Subscription> {
    const text = encodeJson(change, "change")
    const exchange = { isExpected: isSubscription }
    return (await this.#transport.patch(pathOf(id), text, exchange, options)) as Subscription
  }

  /**
   * Sends a test call now, and returns what the receiver answered.
   *
   * @throws {RequestError} none has this id
   */
  async test(id: string, options: CallOptions = {}): Promise<DeliveryAttempt> {
    const exchange = { isExpected: isAttempt }
    return (await this.#transport.post(`${pathOf(id)}/test`, "{}", exchange, options)) as DeliveryAttempt
  }

  /**
   * Sends again what was stored since a time.
   *
   * @param since ISO 8601; no offset means UTC
   * @throws {RequestError} none has this id
   */
  async resend(id: string, since: string, options: CallOptions = {}): Promise<Subscription> {
    const text = encodeJson({ since }, "since")
    const exchange = { isExpected: isSubscription }
    return (await this.#transport.post(`${pathOf(id)}/resend`, text, exchange, options)) as Subscription
  }

  /**
   * Gives a subscription a new secret; calls are also signed with the former one for `overlapSeconds`
   * (default: a day).
   *
   * @throws {RequestError} none has this id
   * @throws {DeadlineError | AbortedError} it may have a new secret that nobody knows: call it again
   */
  async replaceSecret(
    id: string,
    { overlapSeconds, ...options }: CallOptions & { overlapSeconds?: number | undefined } = {},
  ): Promise<{ secret: string; previous_secret_until: string | null }> {
    const text = encodeJson({ overlap_seconds: overlapSeconds }, "overlapSeconds")
    const answer = await this.#transport.post(
      `${pathOf(id)}/secret`,
      text,
      { isExpected: isNewSecret },
      options,
    )
    return answer as { secret: string; previous_secret_until: string | null }
  }

  /** Deletes a subscription, and returns what it was. @throws {RequestError} none has this id */
  async remove(id: string, options: CallOptions = {}): Promise<Subscription> {
    const exchange = { isExpected: isSubscription }
    return (await this.#transport.delete(pathOf(id), exchange, options)) as Subscription
  }
}

const pathOf = (id: string) => `/api/subscriptions/${encodeURIComponent(id)}`
