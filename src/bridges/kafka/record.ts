import { createHash } from "node:crypto"
import { decodeUtf8, isFields } from "../../signals/json.ts"

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
export function positionOf(
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

/** Text of a record, or the reason why its bytes are not text. */
export type Content = { text: string } | { error: string }

/**
 * The serializers of a schema registry write a zero byte and the schema's number in four bytes before the
 * value.
 */
const MAGIC_BYTE = 0
const HEADER_BYTES = 5

/**
 * Reads bytes of a record as text. Bytes that are not UTF-8 are an error; none is replaced.
 *
 * @param name names the bytes in the error: `the value`
 * @see
 *   https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
 */
export function readContent(bytes: Uint8Array, name: string): Content {
  if (bytes[0] === MAGIC_BYTE && bytes.length >= HEADER_BYTES) {
    const schema = new DataView(bytes.buffer, bytes.byteOffset).getUint32(1)
    return {
      error: `${name} is in the wire format of a schema registry (Avro, Protobuf or JSON Schema, schema ${schema}): only plain JSON and text are read`,
    }
  }
  try {
    return { text: decodeUtf8(bytes) }
  } catch {
    return { error: `${name} is not UTF-8 text` }
  }
}

/** Decodes base64, then reads the bytes as `readContent` does. */
export function readBase64(base64: string, name: string): Content {
  try {
    return readContent(Uint8Array.fromBase64(base64), name)
  } catch {
    return { error: `${name} is not base64` }
  }
}

/**
 * Decodes headers of the Strimzi bridge, a list of names with values in base64:
 * https://strimzi.io/docs/bridge/latest/#_kafkaheader
 */
export const decodeHeaders = (headers: unknown): unknown =>
  Array.isArray(headers)
    ? headers.map((one) =>
        isFields(one) && typeof one.value === "string"
          ? { ...one, value: textInBase64(one.value) ?? one.value }
          : one,
      )
    : headers

function textInBase64(base64: string): string | undefined {
  const content = readBase64(base64, "the text")
  return "text" in content ? content.text : undefined
}
