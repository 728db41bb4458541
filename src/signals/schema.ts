import * as z from "zod"
import { plainNumber } from "./json.ts"
import { validationIssue } from "./shape-errors.ts"
import { parseTimestamp, type TimestampError } from "./timestamp.ts"

const text = (description: string) => z.string().meta({ description }).nullish()
const name = (description: string) => z.string().meta({ description, minLength: 1, maxLength: 255 })
const id = (description: string) => z.string().meta({ description, maxLength: 1024 }).nullish()
const share = (description: string) => z.number().meta({ description, minimum: 0, maximum: 1 }).nullish()

/** Parses the time once. The output is UTC text, or the rule violation with which the signal will fail. */
const Timestamp = z
  .custom<string | number>(
    (value) => typeof value === "string" || typeof value === "number",
    validationIssue("datetime_type"),
  )
  .meta({
    description:
      "ISO 8601; no offset means UTC. A Unix epoch number is accepted too: seconds, or above 2e10 milliseconds. At most MAX_FUTURE_SECONDS (default: a day) ahead of the service's clock. Default: now.",
    // Only the form that generated clients send: most generators turn a union into a type that no value fits.
    override: { type: "string", format: "date-time" },
  })
  .transform((value, context): string | TimestampError => {
    const time = parseTimestamp(value)
    if (typeof time === "string" || time.kind === "range") return time
    context.addIssue(validationIssue("datetime_parsing", time.message))
    return z.NEVER
  })

const EscalateFlag = z
  .custom<number>((value) => typeof value === "number", validationIssue("int_type"))
  .refine(Number.isInteger, validationIssue("int_from_float"))
  .meta({ description: "0 or 1. Default: 0.", override: { type: "integer", enum: [0, 1] } })

const Payload = z
  .custom<Record<string, unknown>>(
    (value) => typeof value === "object" && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value),
    validationIssue("dict_type"),
  )
  .meta({
    description: "Any JSON object, up to 64 levels deep. Every digit of its numbers is kept.",
    override: { type: "object", additionalProperties: true },
  })

/**
 * The shape of a signal on the wire. Values are checked later, signal by signal (see `brokenRule`).
 * Unknown fields stay, so that the answer can name them.
 */
export const Signal = z
  .looseObject({
    context_window_id: name("The conversation. Not blank."),
    timestamp: Timestamp.nullish(),
    raw_content: text("The message or text."),
    signal_source: name("The source of the signal. Default: unknown.").nullish(),
    signal_score: share("Coherence. Default: 0.5."),
    signal_vector: text("A reference into a vector store."),
    emotional_tone: share("Emotional intensity."),
    escalate_flag: EscalateFlag.nullish(),
    agent_id: id("The agent that it comes from."),
    user_id: id("The user that it comes from."),
    payload: Payload.nullish(),
    relationship_context: text("Legacy."),
    diagnostic_notes: text("Legacy."),
    dedupe_key: name(
      "At most one stored signal ever has it. Sending it again returns the id of the first.",
    ).nullish(),
  })
  .meta({ id: "Signal" })
export type Signal = z.infer<typeof Signal>
type Field = keyof typeof Signal.shape

/**
 * The fields of a signal in a read, besides `id`, `time`, `received_at`, `edited_at` and `transaction_id`.
 */
export const STORED_FIELDS = {
  context_window_id: z.string(),
  raw_content: z.string().nullable(),
  signal_source: z.string(),
  signal_score: z.number(),
  signal_vector: z.string().nullable(),
  emotional_tone: z.number().nullable(),
  escalate_flag: z.int(),
  agent_id: z.string().nullable(),
  user_id: z.string().nullable(),
  payload: z.unknown().meta({ override: { type: ["object", "null"], additionalProperties: true } }),
  relationship_context: z.string().nullable(),
  diagnostic_notes: z.string().nullable(),
  dedupe_key: z.string().nullable(),
}

/** The fields with text of any length, in the order of the table. */
export const FREE_TEXTS = [
  "raw_content",
  "signal_vector",
  "agent_id",
  "user_id",
  "relationship_context",
  "diagnostic_notes",
] as const satisfies readonly Field[]

/** All fields with text of the sender, in the order in which they are checked. */
export const TEXT_FIELDS = [
  "context_window_id",
  "signal_source",
  ...FREE_TEXTS,
  "dedupe_key",
] as const satisfies readonly Field[]

/**
 * A change of the signal that the row's `dedupe_key` names, which can arrive before or after the row.
 * `edited`: the row has the content since `at` (UTC text). `deleted`: the row has only the name.
 */
export type Change = { kind: "edited"; at: string } | { kind: "deleted" }

/** A signal ready to be stored, with all defaults. `time` is UTC text, `payload` JSON text or "" for none. */
export interface SignalRow {
  index: number
  contextWindowId: string
  time: string
  rawContent: string | null
  signalSource: string
  signalScore: number
  signalVector: string | null
  emotionalTone: number | null
  escalateFlag: number
  agentId: string | null
  userId: string | null
  payload: string
  relationshipContext: string | null
  diagnosticNotes: string | null
  dedupeKey: string | null
  change?: Change
}

/** The row of a valid signal, with the default of each absent field. */
export const rowOf = (
  signal: Signal,
  computed: Pick<SignalRow, "index" | "time" | "payload">,
): SignalRow => ({
  index: computed.index,
  contextWindowId: signal.context_window_id,
  time: computed.time,
  rawContent: signal.raw_content ?? null,
  signalSource: signal.signal_source ?? "unknown",
  signalScore: signal.signal_score ?? 0.5,
  signalVector: signal.signal_vector ?? null,
  emotionalTone: signal.emotional_tone ?? null,
  escalateFlag: signal.escalate_flag ?? 0,
  agentId: signal.agent_id ?? null,
  userId: signal.user_id ?? null,
  payload: computed.payload,
  relationshipContext: signal.relationship_context ?? null,
  diagnosticNotes: signal.diagnostic_notes ?? null,
  dedupeKey: signal.dedupe_key ?? null,
})

/** The options of a batch beside its signals. */
export const BatchFields = {
  fail_on_error: z
    .boolean()
    .nullish()
    .meta({ description: "true: all or nothing. Default: false, best effort." }),
}

/** The shape of a batch. */
export const BatchRequest = z
  .looseObject({ signals: z.array(Signal), ...BatchFields })
  .meta({ id: "BatchRequest" })
export type BatchRequest = z.infer<typeof BatchRequest>

/** The names of a signal's fields. */
export const SIGNAL_FIELDS: ReadonlySet<string> = new Set(Object.keys(Signal.shape))

const NUMBER_FIELDS = ["timestamp", "signal_score", "emotional_tone", "escalate_flag"]

/** Turns raw JSON numbers into doubles in every field but the payload, which keeps all digits. */
export function withPlainNumbers(signal: unknown): unknown {
  if (typeof signal !== "object" || signal === null) return signal
  const fields = signal as Record<string, unknown>
  for (const name of NUMBER_FIELDS)
    if (typeof fields[name] === "object") fields[name] = plainNumber(fields[name])
  return signal
}
