import { COUNTED_WAITING, type OperatingFigures } from "../signals/responses.ts"

/** The state of a service at one moment. What could not be read is undefined. */
export interface ServiceState {
  /** As GET /readyz: whether the service can store a batch. */
  isReady: boolean
  figures: OperatingFigures | undefined
  /** What waits in the queue, by Cloudflare's count, which is approximate. */
  backlog: QueueMetrics | undefined
}

/**
 * The state of a service in Prometheus' text format. A figure that could not be read is left out, and so is
 * the time of the oldest where nothing waits: an alert on its age then does not fire.
 */
export function gauges({ isReady, figures, backlog }: ServiceState): string {
  const oldestMessage = backlog?.oldestMessageTimestamp
  return [
    gauge("ready", "Whether the service can store a batch, as GET /readyz.", Number(isReady)),
    gauge(
      "dead_letters_waiting",
      `Waiting dead letters, counted up to ${COUNTED_WAITING}.`,
      figures?.deadLettersWaiting,
    ),
    gauge(
      "dead_letter_oldest_timestamp_seconds",
      "When the oldest of them was stored.",
      figures?.oldestDeadLetter,
    ),
    gauge(
      "erasures_running",
      `Erasures that are not done, counted up to ${COUNTED_WAITING}.`,
      figures?.erasuresRunning,
    ),
    gauge(
      "erasure_oldest_timestamp_seconds",
      "When the oldest of them was requested.",
      figures?.oldestErasure,
    ),
    gauge(
      "feed_lag_seconds",
      "How long the oldest batch waits for an open transaction.",
      figures?.feedLagSeconds,
    ),
    gauge("queue_messages", "Messages that wait in the queue.", backlog?.backlogCount),
    gauge(
      "queue_oldest_timestamp_seconds",
      "When the oldest of them was sent.",
      oldestMessage && new Date(oldestMessage).getTime() / 1000,
    ),
  ].join("")
}

/** What the metrics say of a subscription. */
export interface SubscriptionFigures {
  name: string
  state: string
  lag_seconds: number
  failed_attempts: number
  delivered_signals: number
}

/** The metrics of subscriptions, with the name of each as a label; none without subscriptions. */
export function subscriptionGauges(subscriptions: readonly SubscriptionFigures[]): string {
  if (subscriptions.length === 0) return ""
  const lines = (name: string, type: string, help: string, of: (one: SubscriptionFigures) => number) => {
    const metric = `signal_ingest_subscription_${name}`
    const values = subscriptions.map((one) => `${metric}{subscription="${label(one.name)}"} ${of(one)}\n`)
    return `# HELP ${metric} ${help}\n# TYPE ${metric} ${type}\n${values.join("")}`
  }
  return [
    lines("active", "gauge", "1 when signals are sent, 0 when it is paused or disabled.", ({ state }) =>
      Number(state === "active"),
    ),
    lines("disabled", "gauge", "1 when its receiver was given up.", ({ state }) =>
      Number(state === "disabled"),
    ),
    lines("lag_seconds", "gauge", "The age of the oldest batch that it has not got past.", (one) =>
      Number(one.lag_seconds.toFixed(3)),
    ),
    lines(
      "failed_attempts",
      "gauge",
      "Failed calls since the last one that was accepted.",
      (one) => one.failed_attempts,
    ),
    lines(
      "delivered_signals_total",
      "counter",
      "Signals that its receiver accepted.",
      (one) => one.delivered_signals,
    ),
  ].join("")
}

const label = (text: string) => text.replace(/[\\"]/g, "\\$&")

function gauge(name: string, help: string, value: number | null | undefined): string {
  if (value === undefined || value === null) return ""
  const metric = `signal_ingest_${name}`
  return `# HELP ${metric} ${help}\n# TYPE ${metric} gauge\n${metric} ${value}\n`
}
