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

function gauge(name: string, help: string, value: number | null | undefined): string {
  if (value === undefined || value === null) return ""
  const metric = `signal_ingest_${name}`
  return `# HELP ${metric} ${help}\n# TYPE ${metric} gauge\n${metric} ${value}\n`
}
