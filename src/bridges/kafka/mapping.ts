import * as z from "zod"
import { SCORE_FIELDS } from "../../scores/score.ts"
import { isFields } from "../../signals/json.ts"
import type { Delivered } from "../../signals/plan.ts"
import { reservedKeyViolation } from "../../signals/rules.ts"
import { type Fields, type KafkaRecord, textOf, unwrapped } from "./record.ts"

/**
 * Where a field of a signal comes from: names into the record's value, with dots between, or a part of the
 * record itself.
 */
const Path = z
  .string()
  .regex(/^(\$(key|subject|topic|timestamp|value)|\$(headers|cloudevent)\.[^.]+|[^.$]+)(\.[^.]+)*$/, {
    error:
      "must be field names with dots between, or begin with $key, $subject, $topic, $timestamp, $value, $headers.NAME or $cloudevent.NAME",
  })

/** One path, or several of which the first that exists is read. */
const Paths = z.union([Path.transform((path) => [path]), z.array(Path).min(1)])

/**
 * The setting KAFKA_FIELD_MAPPING: the paths of a signal's fields in a record whose value is not a signal
 * itself. A field that is not named keeps its default.
 */
export const FieldMapping = z.strictObject({
  conversation: Paths.default(["$key", "$subject"]),
  text: Paths.default(["text", "message"]),
  source: Paths.optional(),
  time: Paths.default(["$timestamp"]),
  score: Paths.optional(),
  tone: Paths.optional(),
  user: Paths.optional(),
  agent: Paths.optional(),
  dedupe_key: Paths.optional(),
})
export type FieldMapping = z.infer<typeof FieldMapping>

/**
 * Follows a dotted path. `$name` starts at the record (`root`), any other path at its value. Empty text
 * counts as absent, since some sinks send it for a record without a key.
 */
export function follow(root: Record<string, unknown>, path: string): unknown {
  const names = path.startsWith("$") ? path.slice(1).split(".") : ["value", ...path.split(".")]
  let found: unknown = root
  for (const name of names) {
    if (Array.isArray(found)) found = byName(found)
    if (typeof found !== "object" || found === null || JSON.isRawJSON(found) || !Object.hasOwn(found, name))
      return undefined
    found = (found as Record<string, unknown>)[name]
  }
  return found === "" ? undefined : (found ?? undefined)
}

/** A list of entries with a name and a value, such as the headers of a record, by their names. */
const byName = (list: readonly unknown[]): Record<string, unknown> =>
  Object.fromEntries(
    list.flatMap((one) => {
      if (!isFields(one) || !("value" in one)) return []
      const name = one.key ?? one.name
      // Other keys have no useful text.
      return typeof name === "string" ? [[name, one.value]] : []
    }),
  )

/** The value at the first of `paths` that has one. */
const first = (root: Record<string, unknown>, paths: readonly string[] = []): unknown =>
  paths.map((path) => follow(root, path)).find((found) => found !== undefined)

/** The paths as words of a message. */
const describePaths = (paths: readonly string[]) => paths.join(" or ")

/**
 * Maps a record to a signal. Skips a tombstone, a deleted row and a truncated table. A value that is a signal
 * or a score already stays as it is; any other value becomes a signal by the field mapping, with the whole
 * record as its payload.
 */
export function mapKafkaRecord(record: KafkaRecord, mapping: FieldMapping): Delivered {
  const { value, fault, timestamp, identity: dedupeKey } = record
  if (fault !== undefined) return { refused: fault }
  const skipped =
    skippedChange(record, mapping) ?? (value === null || value === undefined ? "tombstone" : undefined)
  if (skipped !== undefined) return { skipped }
  if (isFields(value) && typeof value.context_window_id === "string")
    return {
      signal: {
        ...value,
        timestamp: value.timestamp ?? timeOf(timestamp),
        dedupe_key: value.dedupe_key ?? dedupeKey,
      },
    }
  if (isFields(value) && isScore(value))
    return { score: { ...value, scored_at: value.scored_at ?? timeOf(timestamp) } }

  const { identity: _, subject: __, ...payload } = record
  const root = record as unknown as Fields
  const conversation = textOf(first(root, mapping.conversation))
  const subjects = {
    user_id: textOf(first(root, mapping.user)),
    agent_id: textOf(first(root, mapping.agent)),
  }
  if (conversation === undefined)
    return {
      refused: `the record has no conversation: ${describePaths(mapping.conversation)} must be text or a number`,
      about: subjects,
    }
  return {
    signal: {
      context_window_id: conversation,
      raw_content: textOf(value) ?? textOf(first(root, mapping.text)),
      signal_source: textOf(first(root, mapping.source)) ?? "Kafka",
      timestamp: timeOf(first(root, mapping.time)),
      signal_score: first(root, mapping.score),
      emotional_tone: first(root, mapping.tone),
      ...subjects,
      dedupe_key: textOf(first(root, mapping.dedupe_key)) ?? dedupeKey,
      payload,
    },
  }
}

/** The values of a score. */
const SCORE_VALUES = ["signal_score", "emotional_tone", "escalate_flag"] as const

/** Whether a value is a score: it names a signal and has a value, and has no field that a score has not. */
const isScore = (value: Fields): boolean =>
  (value.signal_id ?? value.dedupe_key ?? null) !== null &&
  SCORE_VALUES.some((name) => (value[name] ?? null) !== null) &&
  Object.keys(value).every((name) => SCORE_FIELDS.has(name))

/**
 * Refuses a dedupe_key in the bridges' namespace that the writer of the record chose, instead of the record's
 * own identity. A score takes no key: it only names the signal that has it.
 */
export function withoutReservedKey(delivered: Delivered, { identity }: KafkaRecord): Delivered {
  if (!("signal" in delivered) || delivered.signal.dedupe_key === identity) return delivered
  const violation = reservedKeyViolation(delivered.signal.dedupe_key, "in the value of a record")
  return violation
    ? { refused: violation.message, code: violation.code, field: violation.field, about: delivered.signal }
    : delivered
}

/** Kafka writes -1 for a record without a timestamp. */
const timeOf = (value: unknown) => (value === -1 ? undefined : value)

/** The operations that leave no row behind, by Debezium's letter. */
const SKIPPED: Record<string, string> = { d: "debezium_delete", t: "debezium_truncate" }

/**
 * The kind under which a record of Debezium is skipped: of a deleted row, of a truncated table, and of
 * Debezium's own state. Undefined for any other record, and for a deleted row whose conversation the mapping
 * finds in `before`: a mapping with such a path asks for signals of deletions.
 *
 * @see https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-delete-events
 */
function skippedChange(record: KafkaRecord, mapping: FieldMapping): string | undefined {
  const state = stateOf(record)
  if (state !== undefined) return state
  const kind = SKIPPED[operationOf(record) ?? ""]
  if (kind === undefined) return undefined
  const paths = mapping.conversation.filter((path) => /^(\$value\.)?before\./.test(path))
  return textOf(first({ ...record }, paths)) === undefined ? kind : undefined
}

/**
 * A CloudEvent has the operation as an attribute. An envelope has it beside `source`, which always names the
 * connector. A flattened row has it in `__op`, or says only that it is deleted.
 *
 * @see https://debezium.io/documentation/reference/stable/transformations/event-flattening.html
 */
function operationOf({ value, cloudevent }: KafkaRecord): string | undefined {
  if (cloudevent && isDebezium(cloudevent)) return textOf(cloudevent.iodebeziumop)
  if (!isFields(value)) return undefined
  if (value.__deleted === "true" || value.__deleted === true) return "d"
  if (isFields(value.source) && typeof value.source.connector === "string") return textOf(value.op)
  return textOf(value.__op)
}

/**
 * The kind of a record in which Debezium tells its own state: a heartbeat, or the begin or the end of a
 * transaction. They come for ever, and have nothing to store.
 *
 * @see https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-property-heartbeat-interval-ms
 * @see https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-transaction-metadata
 */
function stateOf({ value, key }: KafkaRecord): string | undefined {
  if (!isFields(value)) return undefined
  if (Object.keys(value).join() === "ts_ms" && isHeartbeatKey(unwrapped(key))) return "debezium_heartbeat"
  const isMarker = value.status === "BEGIN" || value.status === "END"
  return isMarker && "id" in value && "event_count" in value && "data_collections" in value
    ? "debezium_transaction"
    : undefined
}

/** The key names the connector, as fields or as JSON text. Debezium Server sends none. */
const isHeartbeatKey = (key: unknown) =>
  key == null ||
  (isFields(key) && "serverName" in key) ||
  (typeof key === "string" && key.includes('"serverName"'))

/**
 * What distinguishes changes that share an id, as text; "" for an event that is not Debezium's. The id is a
 * position in the database's log: all rows of a snapshot share one, and with MySQL all rows of a statement.
 *
 * @see
 *   https://github.com/debezium/debezium/blob/main/debezium-connector-postgres/src/main/java/io/debezium/connector/postgresql/converters/PostgresCloudEventsMaker.java
 */
export function changeOf(attributes: Fields, value: unknown): string {
  if (!isDebezium(attributes)) return ""
  const {
    iodebeziumdb: db,
    iodebeziumschema: schema,
    iodebeziumtable: table,
    iodebeziumcollection: collection,
    iodebeziumrow: row,
    iodebeziumop: op,
  } = attributes
  const change =
    isFields(value) && ("before" in value || "after" in value) ? [value.before, value.after] : value
  // MongoDB names a collection instead of a table; the others' names stay as they were before collections
  // were among them.
  return ` ${JSON.stringify([db, schema, table, row, op, change, ...(collection === undefined ? [] : [collection])])}`
}

const isDebezium = ({ type }: Fields) => typeof type === "string" && type.startsWith("io.debezium.")
