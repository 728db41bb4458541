import * as z from "zod"
import { plainNumber } from "./json.ts"
import { validationIssue } from "./shape-errors.ts"
import { parseTimestamp, type TimestampError } from "./timestamp.ts"

/** The longest name: of a conversation, a source, a dedupe key or a scorer. */
export const MAX_NAME_CHARACTERS = 255

const name = (description: string) =>
  z.string().meta({ description, minLength: 1, maxLength: MAX_NAME_CHARACTERS })

/** JSON has numbers beyond a double, such as `1e400`: Infinity here, which breaks the rule of its field. */
const AnyNumber = z.custom<number>((value) => typeof value === "number", validationIssue("float_type"))

export const share = (description: string) =>
  AnyNumber.meta({ description, override: { type: "number", minimum: 0, maximum: 1 } })

/** A text of any length, which may be absent. */
const freeText = (description: string) =>
  ({
    type: "text",
    text: "free",
    sent: z.string().meta({ description }).nullish(),
    stored: z.string().nullable(),
    preset: null,
  }) as const

/** The id of an agent or of a user; see `MAX_ID_CHARACTERS` in `rules.ts`. */
const id = (description: string) =>
  ({ ...freeText(description), sent: z.string().meta({ description, maxLength: 1024 }).nullish() }) as const

/** Parses the time once. The output is UTC text, or the rule violation with which the signal will fail. */
export const Timestamp = z
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

export const EscalateFlag = z
  .custom<number>((value) => typeof value === "number", validationIssue("int_type"))
  .refine((value) => Number.isInteger(value) || !Number.isFinite(value), validationIssue("int_from_float"))
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

interface Field {
  /** The name of the column; by default that of the field. */
  column?: string
  /** The column's type in Postgres. */
  type: "text" | "timestamptz" | "float8" | "int2" | "jsonb"
  /** `name` and `key`: at most 255 characters; `free`: of any length. Names are checked first, keys last. */
  text?: "name" | "free" | "key"
  /** The shape on the wire. */
  sent: z.ZodType
  /** The shape in a read, which is also that of the row; see `SignalRow` for the two that are computed. */
  stored: z.ZodType
  /** The value of an absent field in the row. */
  preset: string | number | null
}

/**
 * A signal's fields in the order of every statement, the one place that lists them: the shapes of a signal
 * that is sent and of one that is read, the row, the columns and the lists below follow from it. Besides it
 * only the table (`src/store/database/schema.ts`) and the client's types, which stand alone, name a field.
 */
const FIELDS = {
  context_window_id: {
    type: "text",
    text: "name",
    sent: name("The conversation. Not blank."),
    stored: z.string(),
    preset: "",
  },
  timestamp: {
    column: "time",
    type: "timestamptz",
    sent: Timestamp.nullish(),
    stored: z.string(),
    preset: "",
  },
  raw_content: freeText("The message or text."),
  signal_source: {
    type: "text",
    text: "name",
    sent: name("The source of the signal. Default: unknown.").nullish(),
    stored: z.string(),
    preset: "unknown",
  },
  signal_score: {
    type: "float8",
    sent: share("Coherence. Default: 0.5.").nullish(),
    stored: z.number(),
    preset: 0.5,
  },
  signal_vector: freeText("A reference into a vector store."),
  emotional_tone: {
    type: "float8",
    sent: share("Emotional intensity.").nullish(),
    stored: z.number().nullable(),
    preset: null,
  },
  escalate_flag: { type: "int2", sent: EscalateFlag.nullish(), stored: z.int(), preset: 0 },
  agent_id: id("The agent that it comes from."),
  user_id: id("The user that it comes from."),
  payload: {
    type: "jsonb",
    sent: Payload.nullish(),
    stored: z.unknown().meta({ override: { type: ["object", "null"], additionalProperties: true } }),
    preset: "",
  },
  relationship_context: freeText("Legacy."),
  diagnostic_notes: freeText("Legacy."),
  dedupe_key: {
    type: "text",
    text: "key",
    sent: name(
      "At most one stored signal ever has it. Sending it again returns the id of the first.",
    ).nullish(),
    stored: z.string().nullable(),
    preset: null,
  },
} as const satisfies Record<string, Field>

type Fields = typeof FIELDS
type FieldName = keyof Fields
type TextName = { [Name in FieldName]: Fields[Name] extends { text: string } ? Name : never }[FieldName]
type ColumnOf<Name extends FieldName> = Fields[Name] extends { column: infer Column extends string }
  ? Column
  : Name
type Camel<Name extends string> = Name extends `${infer First}_${infer Rest}`
  ? `${First}${Capitalize<Camel<Rest>>}`
  : Name
type RowName<Name extends FieldName> = Camel<ColumnOf<Name>>

const entries = Object.entries(FIELDS) as [FieldName, Field][]
const columnOf = ([name, { column }]: [FieldName, Field]): string => column ?? name
const camel = (column: string) => column.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())

/**
 * The shape of a signal on the wire. Values are checked later, signal by signal (see `brokenRule`).
 * Unknown fields stay, so that the answer can name them.
 */
export const Signal = z
  .looseObject(
    Object.fromEntries(entries.map(([name, { sent }]) => [name, sent])) as {
      [Name in FieldName]: Fields[Name]["sent"]
    },
  )
  .meta({ id: "Signal" })
export type Signal = z.infer<typeof Signal>

/**
 * The fields of a signal in a read, besides `id`, `time`, `received_at`, `edited_at` and `transaction_id`.
 */
export const STORED_FIELDS = Object.fromEntries(
  entries.filter(([name]) => name !== "timestamp").map(([name, { stored }]) => [name, stored]),
) as { [Name in Exclude<FieldName, "timestamp">]: Fields[Name]["stored"] }

const textsOf = (kind: Field["text"]) =>
  entries.filter(([, { text }]) => text === kind).map(([name]) => name as TextName)

/** The fields with text of any length, in the order of the table. */
export const FREE_TEXTS = textsOf("free")

/** All fields with text of the sender, in the order in which they are checked. */
export const TEXT_FIELDS = [...textsOf("name"), ...FREE_TEXTS, ...textsOf("key")]

/**
 * A change of the signal that the row's `dedupe_key` names, which can arrive before or after the row.
 * `edited`: the row has the content since `at` (UTC text). `deleted`: the row has only the name.
 */
export type Change = { kind: "edited"; at: string } | { kind: "deleted" }

/** A signal ready to be stored, with all defaults. `time` is UTC text, `payload` JSON text or "" for none. */
export type SignalRow = {
  [Name in FieldName as RowName<Name>]: Name extends "payload" ? string : z.infer<Fields[Name]["stored"]>
} & { index: number; change?: Change }

export type SignalField = { [Name in FieldName]: RowName<Name> }[FieldName]

/** The column of a field: the field of the row, the column's name and its type in Postgres. */
export type SignalColumn = {
  [Name in FieldName]: { field: RowName<Name>; column: ColumnOf<Name>; type: Fields[Name]["type"] }
}[FieldName]

/** A signal's columns in the order of every statement. */
export const SIGNAL_COLUMNS: readonly SignalColumn[] = entries.map(
  (entry) =>
    ({ field: camel(columnOf(entry)), column: columnOf(entry), type: entry[1].type }) as SignalColumn,
)

const ROW_FIELDS = entries.map((entry) => ({
  name: entry[0],
  field: camel(columnOf(entry)),
  preset: entry[1].preset,
}))

/** The row of a valid signal, with the default of each absent field. */
export function rowOf(signal: Signal, computed: Pick<SignalRow, "index" | "time" | "payload">): SignalRow {
  const row: Record<string, unknown> = { index: computed.index }
  for (const { name, field, preset } of ROW_FIELDS) row[field] = signal[name] ?? preset
  row.time = computed.time
  row.payload = computed.payload
  return row as SignalRow
}

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

const NUMBER_FIELDS = entries
  .filter(([, { type }]) => type !== "text" && type !== "jsonb")
  .map(([name]) => name)

/** Turns raw JSON numbers into doubles in every field but the payload, which keeps all digits. */
export function withPlainNumbers(signal: unknown): unknown {
  if (typeof signal !== "object" || signal === null) return signal
  const fields = signal as Record<string, unknown>
  for (const name of NUMBER_FIELDS)
    if (typeof fields[name] === "object") fields[name] = plainNumber(fields[name])
  return signal
}
