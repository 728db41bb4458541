import type * as z from "zod"
import type { Figures, MetricsAnswer } from "../metrics/answer.ts"
import { OUTCOMES } from "../metrics/points.ts"
import { planBatch } from "../signals/plan.ts"
import type {
  BatchAnswer,
  BatchRecord,
  ConversationStats,
  DeadLetterRecord,
  DeliveryAnswer,
  Failure,
  ListedDeadLetter,
  ScoresAnswer,
} from "../signals/responses.ts"
import { Signal } from "../signals/schema.ts"
import { storedSignal } from "../store/signals/stored-signal.ts"

export const TRANSACTION_ID = "0194694c-5e3b-7a3c-9d2e-5f1b8c6a4e70"
const INSTANT = "2025-01-15T09:30:00.123456Z"

export const SIGNAL: z.input<typeof Signal> = {
  context_window_id: "conv-123",
  timestamp: "2025-01-15T09:30:00.123456Z",
  raw_content: "Signal 1 content",
  signal_source: "Slack",
  signal_score: 0.85,
  emotional_tone: 0.7,
  escalate_flag: 0,
  payload: { channel: "general" },
  dedupe_key: "slack-C0123-1736933400.123456",
}

/** The row that the service makes of `SIGNAL`. */
const [ROW] = planBatch([Signal.parse(SIGNAL)], INSTANT).rows
if (!ROW) throw new Error("the example of a signal breaks a rule")
export const STORED_SIGNAL = storedSignal(ROW, 1001, {
  transactionId: TRANSACTION_ID,
  receivedAt: "2025-01-15T09:30:01.234567Z",
})

const { dedupe_key: _, ...FIRST } = SIGNAL
const SECOND = { context_window_id: "conv-123", raw_content: "Signal 2 content", signal_source: "Slack" }

export const BATCH = { signals: [FIRST, { ...SECOND, signal_score: 0.9 }], fail_on_error: false }

export const BAD_BATCH = { signals: [FIRST, { ...SECOND, signal_score: 1.5 }] }

export const BAD_SCORE: Failure = {
  index: 1,
  error: "signal_score must be between 0 and 1",
  code: "out_of_range",
  field: "signal_score",
  retryable: false,
}

export const BATCH_ANSWER: BatchAnswer = {
  total_count: 2,
  successful_count: 2,
  failed_count: 0,
  results: [
    { index: 0, success: true, signal_id: 1001, error: null },
    { index: 1, success: true, signal_id: 1002, error: null },
  ],
  transaction_id: TRANSACTION_ID,
}

export const PARTIAL_ANSWER: BatchAnswer = {
  ...BATCH_ANSWER,
  successful_count: 1,
  failed_count: 1,
  results: [
    { index: 0, success: true, signal_id: 1001, error: null },
    { ...BAD_SCORE, success: false, signal_id: null },
  ],
}

export const MINIMAL_ANSWER: BatchAnswer = { ...PARTIAL_ANSWER, results: PARTIAL_ANSWER.results.slice(1) }

export const LENIENT_ANSWER: BatchAnswer = {
  ...PARTIAL_ANSWER,
  results: PARTIAL_ANSWER.results.map((result) =>
    result.success
      ? result
      : {
          ...result,
          error: "context_window_id: Field required",
          code: "missing_field",
          field: "context_window_id",
        },
  ),
}

export const BATCH_RECORD: BatchRecord = {
  transaction_id: TRANSACTION_ID,
  state: "stored",
  created_at: INSTANT,
  caller: "bridge",
  idempotency_key: "nightly-2025-01-15",
  total_count: 2,
  successful_count: 1,
  failed_count: 1,
  failures: [BAD_SCORE],
}

export const QUEUED_RECORD: BatchRecord = { ...BATCH_RECORD, state: "queued", successful_count: 0 }

export const CONVERSATION: ConversationStats = {
  context_window_id: "conv-123",
  signal_count: 42,
  avg_score: 0.71,
  latest_signal: INSTANT,
}

const FIGURES: Figures = {
  requests: 120,
  batches: 120,
  signals_created: 5980,
  signals_failed: 20,
  signals_duplicate: 12,
  requests_per_second: 0.033,
  batches_per_second: 0.033,
  signals_per_second: 1.661,
  success_rate: 0.95,
  error_rate: 0.01,
  latency_ms: { p50: 12, p95: 31, p99: 58 },
  outcomes: {
    ...(Object.fromEntries(OUTCOMES.map((name) => [name, 0])) as Figures["outcomes"]),
    stored: 114,
    partly_stored: 6,
  },
}

export const METRICS: MetricsAnswer = {
  window: "1h",
  since: "2025-01-15T08:30:00.000Z",
  until: "2025-01-15T09:30:00.000Z",
  measured_since: "2025-01-15T08:30:00.000Z",
  step_seconds: 60,
  percentiles: "exact",
  totals: FIGURES,
  by_outcome: [{ outcome: "stored", ...FIGURES }],
  by_route: [{ route: "POST /api/signals/batch", ...FIGURES }],
  scores: { stored: 40, waiting: 2, duplicate: 1, failed: 0 },
  sources: [{ source: "Slack", signals_created: 5980, signals_created_by_step: [5980] }],
  failure_codes: [
    {
      code: "out_of_range",
      requests: 4,
      signals_failed: 20,
      requests_by_step: [4],
      signals_failed_by_step: [20],
    },
    {
      code: "invalid_request",
      requests: 1,
      signals_failed: 0,
      requests_by_step: [1],
      signals_failed_by_step: [0],
    },
  ],
  skipped: [{ route: "POST /webhooks/slack", kind: "message_changed", events: 3 }],
  series: [{ time: "2025-01-15T08:30:00.000Z", ...FIGURES }],
}

export const COUNTERS = `# HELP batch_signals_created_total Signals added to the table since 00:00 UTC.
# TYPE batch_signals_created_total counter
batch_signals_created_total 5980
# HELP batch_signals_duplicates_total Signals whose dedupe_key was stored before, since 00:00 UTC.
# TYPE batch_signals_duplicates_total counter
batch_signals_duplicates_total 12
# HELP batch_signals_failed_total Signals that were sent and are not in the table, since 00:00 UTC.
# TYPE batch_signals_failed_total counter
batch_signals_failed_total 20
`

export const SLACK_EVENT = {
  type: "event_callback",
  team_id: "T123ABC",
  api_app_id: "A123ABC",
  event_id: "Ev123ABC",
  event_time: 1736933400,
  event: {
    type: "message",
    channel: "C123ABC",
    user: "U123ABC",
    text: "Signal 1 content",
    ts: "1736933400.123456",
  },
}

export const QUEUED_DELIVERY: DeliveryAnswer = {
  state: "queued",
  total_count: 1,
  accepted_count: 1,
  failed_count: 0,
  failures: [],
  skipped: {},
  transaction_id: TRANSACTION_ID,
}

export const SKIPPED_DELIVERY: DeliveryAnswer = {
  state: "skipped",
  total_count: 0,
  accepted_count: 0,
  failed_count: 0,
  failures: [],
  skipped: { reaction_added: 1 },
}

export const FAILED_DELIVERY: DeliveryAnswer = {
  ...QUEUED_DELIVERY,
  total_count: 2,
  failed_count: 1,
  failures: [BAD_SCORE],
}

export const KAFKA_RECORDS = {
  topic: "chat",
  records: [
    {
      key: "conv-123",
      value: { context_window_id: "conv-123", raw_content: "Signal 1 content" },
      partition: 0,
      offset: 7,
    },
  ],
}

export const CLOUD_EVENT = {
  specversion: "1.0",
  id: "1001",
  source: "/chat",
  type: "message.created",
  data: { context_window_id: "conv-123", raw_content: "Signal 1 content" },
}

export const LISTED_DEAD_LETTER: ListedDeadLetter = {
  id: 7,
  created_at: INSTANT,
  state: "waiting",
  source: "kafka",
  caller: "bridge",
  reason: BAD_SCORE.error,
  code: BAD_SCORE.code,
  field: BAD_SCORE.field,
  retryable: BAD_SCORE.retryable,
  transaction_id: TRANSACTION_ID,
  index: 1,
  truncated: false,
  replay_transaction_id: "0194694c-5e3c-7b10-8f44-9a0c2d7e6b31",
}

export const DEAD_LETTER: DeadLetterRecord = {
  ...LISTED_DEAD_LETTER,
  record: JSON.stringify({ value: { context_window_id: "conv-123", signal_score: 1.5 } }),
}

export const SCORES = {
  scores: [
    { signal_id: 1001, signal_score: 0.9, scored_at: "2025-01-15T10:00:00Z", scorer: "judge-2" },
    { dedupe_key: "msg-7", escalate_flag: 1 },
  ],
}

export const SCORES_ANSWER: ScoresAnswer = {
  total_count: 2,
  successful_count: 1,
  failed_count: 1,
  waiting_count: 0,
  results: [
    { index: 0, success: true, signal_id: 1001, error: null },
    {
      index: 1,
      success: false,
      signal_id: null,
      error: "the signal with this dedupe_key was deleted",
      code: "deleted_signal",
      field: "dedupe_key",
      retryable: false,
    },
  ],
  transaction_id: TRANSACTION_ID,
}

export const STORED_SCORE = {
  signal_score: 0.9,
  emotional_tone: null,
  escalate_flag: null,
  scored_at: "2025-01-15T10:00:00.000000Z",
  scorer: "judge-2",
  received_at: "2025-01-15T10:00:01.234567Z",
  transaction_id: TRANSACTION_ID,
}
