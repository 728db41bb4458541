import * as z from "zod"
import { WINDOWS } from "../../metrics/answer.ts"
import { textViolation } from "../../signals/rules.ts"
import { shapeErrors, validationIssue } from "../../signals/shape-errors.ts"
import { DEAD_LETTER_SOURCES } from "../../signals/sources.ts"
import { parseTimestamp } from "../../signals/timestamp.ts"
import type { AuditPosition } from "../../store/audit/pages.ts"
import { AUDIT_PARTS } from "../../store/audit/records.ts"
import type { FeedPosition } from "../../store/signals/feed.ts"
import type { Cursor } from "../../store/signals/search.ts"
import { STREAM_BOUNDS } from "./bounds.ts"
import { payloadConditions } from "./payload-params.ts"
import { invalidShape } from "./problems.ts"

/**
 * Text to compare with stored text. It follows the rules of stored text: Postgres does not accept U+0000 in a
 * comparison either.
 */
const text = z.string().superRefine((value, context) => {
  const violation = textViolation(value)
  if (violation) context.addIssue(validationIssue("value_error", `Value error, this ${violation}`))
})

/**
 * A time in a query, in any form of a signal's timestamp; an epoch number is text here. The API description
 * has only the form that generated clients send.
 */
const time = (description: string) =>
  TimeText.optional().meta({
    description: `${description} ISO 8601; no offset means UTC. A Unix epoch number is read as well.`,
    override: { type: "string", format: "date-time" },
  })

const TimeText = z.string().transform((text, context): string => {
  // A plus sign that was not percent-encoded arrives as a space.
  const time = parseTimestamp(
    /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text.replace(/^([\d-]+T[\d:.,]+) (\d\d:?\d\d)$/, "$1+$2"),
  )
  if (typeof time === "string") return time
  context.addIssue(validationIssue("datetime_parsing", time.message))
  return z.NEVER
})

/** A whole number in a query or a path, where every value is text. */
const digits = z
  .string()
  .refine((text) => /^-?\d{1,16}$/.test(text), validationIssue("int_parsing"))
  .transform(Number)

/** Longer than any score that has a reason. */
const MAX_NUMBER_CHARACTERS = 40

const score = (description: string) =>
  z
    .string()
    .refine(
      (text) =>
        text.length <= MAX_NUMBER_CHARACTERS && /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d{1,3})?$/i.test(text),
      validationIssue("float_parsing"),
    )
    .transform(Number)
    .pipe(z.number().min(0).max(1))
    .optional()
    .meta({ description, override: { type: "number", minimum: 0, maximum: 1 } })

/** The spellings that Pydantic reads, such as the `True` of a Python client. */
const TRUE = new Set(["true", "t", "yes", "y", "on", "1"])
const FALSE = new Set(["false", "f", "no", "n", "off", "0"])

const flag = (description: string) =>
  z
    .string()
    .toLowerCase()
    .refine((text) => TRUE.has(text) || FALSE.has(text), validationIssue("bool_parsing"))
    .transform((text) => TRUE.has(text))
    .optional()
    .meta({ description, override: { type: "boolean" } })

/** The largest exact integer of JavaScript. Ids and positions are smaller. */
const LARGEST = Number.MAX_SAFE_INTEGER

const limit = (preset: number, description = "Entries of a page.") =>
  digits
    .pipe(z.int().min(1).max(1000))
    .default(preset)
    .meta({ description, override: { type: "integer", minimum: 1, maximum: 1000, default: preset } })

const id = (description: string) =>
  digits
    .pipe(z.int().min(0))
    .meta({ description, override: { type: "integer", format: "int64", minimum: 0, maximum: LARGEST } })

const cursor = <Schema extends z.ZodType>(schema: Schema, description = "`next_cursor` of the last page.") =>
  schema.optional().meta({ description })

/**
 * The cursor of a page is opaque to clients: base64url of the JSON of the last signal's time and id. A reader
 * of a stream writes them as they are.
 */
const CursorText = z.string().transform((text, context): Cursor => {
  try {
    const [, time, id] = /^([^,]+),(\d{1,16})$/.exec(text) ?? []
    if (time !== undefined) return CursorParts.parse([time, Number(id)])
    const bytes = Uint8Array.fromBase64(text, { alphabet: "base64url" })
    return CursorParts.parse(JSON.parse(new TextDecoder().decode(bytes)))
  } catch {
    context.addIssue(validationIssue("value_error", "Value error, this is not a cursor of this service"))
    return z.NEVER
  }
})
const CursorParts = z
  .tuple([z.string().refine((time) => parseTimestamp(time) === time), z.int().min(0)])
  .transform(([time, id]): Cursor => ({ time, id }))

export function encodeCursor({ time, id }: Cursor): string {
  return new TextEncoder()
    .encode(JSON.stringify([time, id]))
    .toBase64({ alphabet: "base64url", omitPadding: true })
}

/** A longer text finds no more. */
const MAX_SEARCHED_CHARACTERS = 200

export const ListQuery = z.object({
  context_window_id: text.optional(),
  signal_source: text.optional(),
  user_id: text.optional(),
  agent_id: text.optional(),
  escalate_flag: digits
    .pipe(z.int().min(0).max(1))
    .optional()
    .meta({ override: { type: "integer", enum: [0, 1] } }),
  min_score: score("Signals with this `signal_score` or a higher one."),
  max_score: score("Signals with this `signal_score` or a lower one."),
  since: time("Signals at or after this time."),
  until: time("Signals before this time."),
  q: text.pipe(z.string().min(1).max(MAX_SEARCHED_CHARACTERS)).optional().meta({
    description: "Signals whose `raw_content` contains this text, whatever the case of its letters.",
  }),
  payload: payloadConditions,
  limit: limit(100),
  cursor: cursor(
    CursorText,
    "`next_cursor` of the page before; or the `time` and the `id` of a signal with a comma between.",
  ),
})

/** The filters of the list, without its pages. */
export const ExportQuery = ListQuery.extend({
  format: z.enum(["ndjson", "csv"]).meta({ description: "NDJSON: one signal a line. CSV: RFC 4180." }),
  limit: digits
    .pipe(z.int().min(1).max(STREAM_BOUNDS.signals))
    .optional()
    .meta({
      description: "Signals of the stream; every one without it.",
      override: { type: "integer", minimum: 1, maximum: STREAM_BOUNDS.signals },
    }),
})
export type ExportQuery = z.infer<typeof ExportQuery>

export const StatsQuery = z.object({
  since: time("Signals after this time. Default: one day ago."),
  limit: limit(1000),
})

export const BatchQuery = z.object({
  fail_on_error: flag("`fail_on_error` for NDJSON, whose body has no field for it."),
})

/** The cluster is a part of the dedupe key, which has at most 255 characters. */
const MAX_CLUSTER_CHARACTERS = 100

export const KafkaQuery = z.object({
  cluster: text.pipe(z.string().max(MAX_CLUSTER_CHARACTERS)).optional().meta({
    description: "The name of the cluster. Needed when topics of several clusters have the same names.",
  }),
})

/** Longer than any code. */
const MAX_CODE_CHARACTERS = 64

/** The cursor of the ledger is the transaction_id of the last batch, a UUIDv7, which sorts by time. */
export const LedgerQuery = z.object({
  limit: limit(100),
  cursor: cursor(z.string().pipe(z.guid())),
})

export const BatchesQuery = LedgerQuery.extend({
  failed: flag("Only batches with a failed signal."),
  failure_code: text
    .pipe(z.string().max(MAX_CODE_CHARACTERS))
    .optional()
    .meta({ description: "Only batches with a failure of this code.", example: "out_of_range" }),
})

export const MetricsQuery = z.object({ window: z.enum(WINDOWS).default("1h") })

export const BatchPath = z.object({ transaction_id: z.guid() })

export const ErasurePath = z.object({ erasure_id: z.guid().meta({ description: "The erasure's id." }) })

/** A part of an audit, a colon, and where it has come to. */
const AuditCursor = z.string().transform((text, context): AuditPosition => {
  const [, part, after] = /^(signals:\d{1,15}|(?:batches|keys):[0-9a-f-]{36})$/.test(text)
    ? text.split(/^(\w+):/)
    : []
  const found = AUDIT_PARTS.find((name) => name === part)
  if (
    found !== undefined &&
    after !== undefined &&
    (found === "signals" || z.guid().safeParse(after).success)
  )
    return { part: found, after }
  context.addIssue(validationIssue("value_error", "Value error, this is not a cursor of an audit"))
  return z.NEVER
})

export const AuditQuery = z.object({
  part: z
    .enum(AUDIT_PARTS)
    .optional()
    .meta({ description: "Only this part. Default: all, one after the other." }),
  limit: limit(1000, "Rows of a page."),
  cursor: AuditCursor.optional().meta({
    description: "`next_cursor` of the page before; it keeps its meaning for ever.",
    override: { type: "string" },
  }),
})

export const KeyPath = z.object({ key_id: z.guid().meta({ description: "The id of the key's record." }) })
export const SubscriptionPath = z.object({
  subscription_id: z.guid().meta({ description: "The subscription's id." }),
})

/** The most days of one answer about the use of a key. */
const MAX_USAGE_DAYS = 31

export const UsageQuery = z.object({
  days: digits
    .pipe(z.int().min(1).max(MAX_USAGE_DAYS))
    .default(7)
    .meta({
      description: "Days, today included.",
      override: { type: "integer", minimum: 1, maximum: MAX_USAGE_DAYS, default: 7 },
    }),
})

export const SignalPath = z.object({ id: id("The signal's id.") })

export const DeadLetterQuery = z.object({
  state: z
    .enum(["waiting", "replayed", "discarded"])
    .optional()
    .meta({ description: "Default: waiting; with `transaction_id`, every state." }),
  transaction_id: z.guid().optional().meta({ description: "Only the dead letters of this batch." }),
  limit: limit(100),
  cursor: cursor(digits),
})

export const DeadLetterPath = z.object({ id: id("The dead letter's id.") })

/** The most dead letters of one replay. */
const MAX_REPLAYED = 500

export const ReplayQuery = z.object({
  ids: z
    .string()
    .refine((text) => /^\d{1,15}(,\d{1,15}){0,499}$/.test(text), validationIssue("int_parsing"))
    .transform((text) => text.split(",").map(Number))
    .optional()
    .meta({
      description: `Up to ${MAX_REPLAYED} ids separated by commas, in any state. Without it, \`state\` and \`source\` choose.`,
      override: { type: "string", pattern: "^\\d{1,15}(,\\d{1,15}){0,499}$" },
    }),
  state: z.enum(["waiting", "discarded"]).default("waiting"),
  source: z.enum(DEAD_LETTER_SOURCES).optional(),
  limit: digits
    .pipe(z.int().min(1).max(MAX_REPLAYED))
    .default(MAX_REPLAYED)
    .meta({
      description: "Dead letters of a call.",
      override: { type: "integer", minimum: 1, maximum: MAX_REPLAYED, default: MAX_REPLAYED },
    }),
  cursor: cursor(digits),
})

/** The longest time that a reader can wait for the next signal. */
const MAX_WAIT_SECONDS = 30

/** The version of the cursor's parts. */
const VERSION = 1

const LARGEST_XID = 2n ** 64n - 1n

const Parts = z
  .tuple([
    z.literal(VERSION),
    z.string().refine((text) => /^\d{1,20}$/.test(text) && BigInt(text) <= LARGEST_XID),
    z.guid(),
    z.int().min(0).nullable(),
  ])
  .transform(([, xid, transactionId, id]): FeedPosition => ({ xid, transactionId, id }))

/** A cursor is opaque to readers: base64url of the JSON of its version and its position. */
export function encodeFeedCursor({ xid, transactionId, id }: FeedPosition): string {
  const text = JSON.stringify([VERSION, xid, transactionId, id])
  return new TextEncoder().encode(text).toBase64({ alphabet: "base64url", omitPadding: true })
}

const FeedCursor = z.string().transform((text, context): FeedPosition | "now" => {
  if (text === "now") return text
  try {
    const parts: unknown = JSON.parse(
      new TextDecoder().decode(Uint8Array.fromBase64(text, { alphabet: "base64url" })),
    )
    return Parts.parse(parts)
  } catch {
    context.addIssue(
      validationIssue("value_error", "Value error, this is not a feed cursor of this version of the service"),
    )
    return z.NEVER
  }
})

export const FeedQuery = z.object({
  after: FeedCursor.optional().meta({
    description:
      "`next_cursor` of the last page. Without it the feed starts at the oldest signal; `now` starts after the newest.",
    override: { type: "string" },
  }),
  limit: limit(100),
  wait: digits
    .pipe(z.int().min(0).max(MAX_WAIT_SECONDS))
    .default(0)
    .meta({
      description: "Seconds to wait for a signal when there is none.",
      override: { type: "integer", minimum: 0, maximum: MAX_WAIT_SECONDS, default: 0 },
    }),
})

type Validated = { success: true } | { success: false; error: z.core.$ZodError; data: unknown }

/** FastAPI's name for each part of a request, by Hono's name. */
const PLACES = { query: "query", param: "path" } as const

/** The hook of every `zValidator`: turns zod's issues into a 422. */
export function refuseShape(result: Validated & { target: keyof typeof PLACES }): void {
  if (!result.success)
    throw invalidShape(shapeErrors(result.error.issues, result.data, [PLACES[result.target]]))
}
