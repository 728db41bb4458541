import { createHash } from "node:crypto"
import { isFields } from "../../signals/json.ts"
import { isDeeperThan } from "../../signals/payload.ts"

/**
 * One record, whatever it came in. Plain JSON, so that it can be kept as a dead letter and mapped again later.
 * Numbers that a double can't carry are raw JSON, as `parseJson` gives them.
 */
export interface KafkaRecord {
  /** null: a tombstone. */
  value: unknown
  key?: unknown
  headers?: unknown
  topic?: unknown
  partition?: unknown
  offset?: unknown
  timestamp?: unknown
  /** Of a CloudEvent: its attributes, and the subject once more by name. */
  cloudevent?: Record<string, unknown>
  subject?: unknown
  /** A permanent name of the record, where its sender gives enough for one. */
  identity?: string
  /** Why the value can't be read, as one sentence. */
  fault?: string
}

export type Fields = Record<string, unknown>

/** Kafka Connect's JsonConverter with schemas: https://kafka.apache.org/documentation/#connect_transforms */
export const unwrapped = (value: unknown) =>
  isFields(value) && Object.keys(value).sort().join() === "payload,schema" ? value.payload : value

/** A name or number as text, every digit of it; undefined for anything else. */
export function textOf(value: unknown): string | undefined {
  if (typeof value === "string") return value
  if (typeof value === "number") return String(value)
  return JSON.isRawJSON(value) ? (value as unknown as { rawJSON: string }).rawJSON : undefined
}

/** How deep a record may nest: it is written as JSON again, which overflows the stack at a few thousand levels. */
const MAX_RECORD_DEPTH = 1000

/** A dead letter keeps the text of a record that nests too deeply. */
export const isTooDeep = (value: unknown) => isDeeperThan(value, MAX_RECORD_DEPTH)
export const TOO_DEEP = `the record nests deeper than ${MAX_RECORD_DEPTH} levels`

const MAX_CHARACTERS = 255

/** A permanent name of a record that fits into a dedupe_key: a longer name is replaced by its digest. */
export function identity(kind: string, name: string): string {
  const text = `${kind}:${name}`
  return text.length <= MAX_CHARACTERS ? text : `${kind}:sha256:${createHash("sha256").update(name).digest("hex")}`
}

/**
 * The identity by topic, partition and offset, where the sender gives all three, and by the timestamp where it gives one: a topic that is
 * deleted and created again counts its offsets from 0. A delivery that is repeated carries the same timestamp.
 */
export function placeOf(cluster: string | undefined, { topic, partition, offset, timestamp }: Fields): { identity?: string } {
  const parts = [textOf(topic), textOf(partition), textOf(offset)]
  if (parts.some((part) => part === undefined || part === "")) return {}
  const time = textOf(timestamp)
  // Kafka's -1 is for no timestamp.
  const at = time === undefined || time === "" || time === "-1" ? [] : [time]
  return { identity: identity("kafka", [...(cluster ? [cluster] : []), ...parts, ...at].join("/")) }
}
