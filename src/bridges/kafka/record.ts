import { createHash } from "node:crypto"
import { isFields } from "../../signals/json.ts"

/**
 * One record, whatever envelope it had. It is plain JSON, so that a dead letter can hold it and a replay can
 * map it again. A number that a double cannot hold is raw JSON, as `parseJson` returns it.
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
  /** The attributes of a CloudEvent. `subject` repeats one of them. */
  cloudevent?: Record<string, unknown>
  subject?: unknown
  /** A permanent name of the record, where the sender gives enough to build one. */
  identity?: string
  /** The reason why the value cannot be read, as one sentence. Stored dead letters have this name. */
  fault?: string
}

export type Fields = Record<string, unknown>

/**
 * Removes the envelope of Kafka Connect's JsonConverter with schemas:
 * https://kafka.apache.org/documentation/#connect_transforms
 */
export const unwrapped = (value: unknown) =>
  isFields(value) && Object.keys(value).sort().join() === "payload,schema" ? value.payload : value

/** Returns a name or a number as text with all its digits; undefined for any other value. */
export function textOf(value: unknown): string | undefined {
  if (typeof value === "string") return value
  if (typeof value === "number") return String(value)
  return JSON.isRawJSON(value) ? (value as unknown as { rawJSON: string }).rawJSON : undefined
}

const MAX_CHARACTERS = 255

/** Builds a permanent name that fits into a dedupe_key: a digest replaces a name that is too long. */
export function identity(kind: string, name: string): string {
  const text = `${kind}:${name}`
  return text.length <= MAX_CHARACTERS
    ? text
    : `${kind}:sha256:${createHash("sha256").update(name).digest("hex")}`
}

/**
 * The identity of a record whose sender gives topic, partition and offset. The timestamp is part of it where
 * there is one: a topic that is deleted and created again counts its offsets from 0. A redelivered record has
 * the same timestamp.
 */
export function placeOf(
  cluster: string | undefined,
  { topic, partition, offset, timestamp }: Fields,
): { identity?: string } {
  const parts = [textOf(topic), textOf(partition), textOf(offset)]
  if (parts.some((part) => part === undefined || part === "")) return {}
  const time = textOf(timestamp)
  // Kafka writes -1 for a record without a timestamp.
  const at = time === undefined || time === "" || time === "-1" ? [] : [time]
  return { identity: identity("kafka", [...(cluster ? [cluster] : []), ...parts, ...at].join("/")) }
}
