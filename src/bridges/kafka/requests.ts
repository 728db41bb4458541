import { isFields, parseJson } from "../../signals/json.ts"
import { isTooDeep, TOO_DEEP } from "../../signals/payload.ts"
import { Unreadable } from "../../signals/shape-errors.ts"
import { isCloudEvent, recordOfBinary, recordOfStructured } from "./cloudevents.ts"
import {
  decodeHeaders,
  type Fields,
  identity,
  type KafkaRecord,
  positionOf,
  readBase64,
  unwrapped,
} from "./record.ts"

export interface KafkaRequest {
  headers: Headers
  /** The decoded body. */
  text: string
  /** Distinguishes clusters whose topics have the same names. */
  cluster: string | undefined
  /** Whether a signature proves the sender. It covers the body and not its type, so only the body decides. */
  isSigned?: boolean
  /** Reading stops one record beyond this, so that the caller can see that there are too many. */
  maxRecords: number
}

const LINES = /^application\/(x-ndjson|ndjson|jsonl|x-jsonlines|stream\+json|x-json-stream)$/
const JSON_OR_TEXT = /^$|^application\/(json|x-www-form-urlencoded|[\w.-]+\+json)$|^text\/(plain|json)$/
const PROXY = /^application\/vnd\.kafka\./
const BASE64_ENVELOPE = /^application\/vnd\.kafka\.binary\./

/** Whether the body of a CloudEvent holds its attributes. @param type without parameters, in lower case */
export const isStructured = (type: string): boolean => type.startsWith("application/cloudevents")

/** The properties that all records of a request share. */
interface Origin {
  maxRecords: number
  cluster: string | undefined
  /** Whether keys and values are base64, and whether the values of headers are. */
  base64: { content: boolean; headers: boolean }
}

/**
 * Reads the records of a request. The content type and the shape of the body decide the format; undefined for
 * an unknown content type.
 *
 * A record that cannot be read has a `fault`. It does not fail the request: the sender could only send the
 * same bytes again.
 */
export function readKafkaRecords({
  headers,
  text,
  cluster,
  maxRecords,
  isSigned = false,
}: KafkaRequest): KafkaRecord[] | undefined {
  const type = (headers.get("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? ""
  // The content type decides between the modes:
  // https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#3-http-message-mapping
  if (headers.has("ce-specversion") && !isStructured(type) && !isSigned)
    return [recordOfBinary(headers, text)]
  if (!LINES.test(type) && !JSON_OR_TEXT.test(type)) return undefined
  // In these types values or headers are base64, which the body alone does not show.
  if (isSigned && PROXY.test(type)) return undefined
  const origin = {
    cluster,
    maxRecords,
    base64: { content: BASE64_ENVELOPE.test(type), headers: PROXY.test(type) },
  }
  const records =
    LINES.test(type) && !isSigned
      ? gather(linesOf(text), maxRecords, (line) => recordsOfText(line, origin))
      : readBody(isSigned ? "" : type, text, origin)
  const webhookId = headers.get("webhook-id")
  return webhookId
    ? records.map((record, index) => withWebhookId(record, webhookId, records.length > 1 ? index : undefined))
    : records
}

/** @param index of the record, where a webhook has several records */
const withWebhookId = (record: KafkaRecord, id: string, index: number | undefined): KafkaRecord =>
  record.identity === undefined
    ? { ...record, identity: identity("webhook", index === undefined ? id : `${id}#${index}`) }
    : record

/**
 * Yields the lines that are not blank. A generator, because a body can have millions of lines and the caller
 * takes few.
 */
function* linesOf(text: string): Generator<string> {
  for (let start = 0; start <= text.length; ) {
    const found = text.indexOf("\n", start)
    const end = found === -1 ? text.length : found
    const line = text.slice(start, end)
    if (line.trim() !== "") yield line
    start = end + 1
  }
}

/** Collects the records of each text, and stops at one more than `maxRecords`. */
function gather<T>(
  texts: Iterable<T>,
  maxRecords: number,
  recordsOf: (text: T) => KafkaRecord[],
): KafkaRecord[] {
  const records: KafkaRecord[] = []
  for (const text of texts) {
    for (const record of recordsOf(text)) records.push(record)
    if (records.length > maxRecords) break
  }
  return records
}

/**
 * Reads a body that is one JSON value, or several: some connectors join values by a separator, whatever the
 * content type says.
 */
function readBody(type: string, text: string, origin: Origin): KafkaRecord[] {
  const { maxRecords } = origin
  const whole = readJson(text)
  if (whole !== undefined) return recordsOfRead(whole, text, origin)
  if (text.trim() === "") return [{ value: null }]
  const all: { line: string; read: ReturnType<typeof readJson> }[] = []
  for (const line of linesOf(text)) if (all.push({ line, read: readJson(line) }) > maxRecords) break
  const readable = all.filter(({ read }) => read !== undefined).length
  const joined = readable === all.length ? undefined : splitJoined(text, maxRecords)
  if (joined && joined.length > 1)
    return gather(joined, maxRecords, (one) => recordsOfText(one, origin, "the value is not JSON"))
  if (readable > 0) return gather(all, maxRecords, ({ line, read }) => recordsOfRead(read, line, origin))
  return [type === "text/plain" ? { value: text } : { value: text, fault: "the value is not JSON" }]
}

const recordsOfText = (text: string, origin: Origin, reason?: string) =>
  recordsOfRead(readJson(text), text, origin, reason)

function recordsOfRead(
  read: ReturnType<typeof readJson>,
  text: string,
  origin: Origin,
  reason = "the line is not JSON",
) {
  if (read === undefined) return [{ value: text, fault: reason }]
  return read.isTooDeep ? [{ value: text, fault: TOO_DEEP }] : recordsOf(read.value, origin)
}

function readJson(text: string): { value: unknown; isTooDeep: boolean } | undefined {
  try {
    const value = parseJson(text)
    return { value, isTooDeep: isTooDeep(value) }
  } catch (error) {
    if (error instanceof Unreadable) return undefined
    throw error
  }
}

/**
 * Splits a JSON value into records: an array, the envelope of a Kafka REST proxy and a batch of this service
 * hold several.
 */
function recordsOf(value: unknown, origin: Origin): KafkaRecord[] {
  const first = (list: readonly unknown[]) => list.slice(0, origin.maxRecords + 1)
  if (Array.isArray(value)) return first(value).map((one) => recordOf(one, origin))
  if (isFields(value) && Array.isArray(value.records)) {
    const { topic } = value
    return first(value.records).map((one) =>
      recordOf(isFields(one) ? { topic, ...one, value: one.value ?? null } : one, origin),
    )
  }
  if (isFields(value) && Array.isArray(value.signals) && value.context_window_id === undefined)
    return first(value.signals).map((one) => recordOf(one, origin))
  if (isFields(value) && Array.isArray(value.scores) && value.context_window_id === undefined)
    return first(value.scores).map((one) => recordOf(one, origin))
  return [recordOf(value, origin)]
}

const OF_RECORD = new Set([
  "key",
  "value",
  "headers",
  "topic",
  "partition",
  "offset",
  "timestamp",
  "timestampType",
  "leaderEpoch",
])

/** Whether a record is in a proxy's envelope: it has a value, and no other field than a Kafka record has. */
const isEnveloped = (value: Fields) =>
  "value" in value && Object.keys(value).every((name) => OF_RECORD.has(name))

/**
 * Whether a record is in Fluent Bit's envelope, which calls the value `payload`:
 * https://github.com/fluent/fluent-bit/blob/master/plugins/in_kafka/in_kafka.c
 */
const isOfFluentBit = (value: Fields) =>
  ["topic", "partition", "offset", "payload"].every((name) => Object.hasOwn(value, name))

function recordOf(one: unknown, { cluster, base64 }: Origin): KafkaRecord {
  if (isCloudEvent(one)) return recordOfStructured(one)
  if (isFields(one) && isOfFluentBit(one)) {
    // Fluent Bit sets `date` when it reads the record, so it is not part of the identity.
    const { key, payload, topic, partition, offset, date } = one
    const json = typeof payload === "string" ? readJson(payload) : undefined
    const read = json && !json.isTooDeep ? json.value : payload
    return {
      value: unwrapped(read),
      key,
      topic,
      partition,
      offset,
      timestamp: date,
      ...positionOf(cluster, { topic, partition, offset }),
    }
  }
  if (!isFields(one) || !isEnveloped(one)) return { value: unwrapped(one) }
  const { key, value, topic, partition, offset, timestamp } = one
  const headers = base64.headers ? decodeHeaders(one.headers) : one.headers
  return {
    key: base64.content && typeof key === "string" ? (decodeBase64(key).value ?? key) : key,
    headers,
    topic,
    partition,
    offset,
    timestamp,
    ...(base64.content ? decodeBase64(value) : { value: unwrapped(value) }),
    ...positionOf(cluster, one),
  }
}

function decodeBase64(value: unknown): { value: unknown; fault?: string } {
  if (value === null || value === undefined) return { value: null }
  if (typeof value !== "string") return { value, fault: "the value is not base64" }
  const content = readBase64(value, "the value")
  if ("error" in content) return { value, fault: content.error }
  const { text } = content
  const read = readJson(text)
  if (read === undefined) return { value: text }
  return read.isTooDeep ? { value: text, fault: TOO_DEEP } : { value: read.value }
}

/** Reads a record that a Kafka consumer received. `text` is its value; undefined for a tombstone. */
export function readKafkaValue(
  record: Omit<KafkaRecord, "value">,
  text: string | undefined,
  cluster: string | undefined,
): KafkaRecord {
  const position = positionOf(cluster, record as Fields)
  if (text === undefined) return { ...record, value: null, ...position }
  const read = readJson(text)
  if (read?.isTooDeep) return { ...record, value: text, fault: TOO_DEEP, ...position }
  return { ...record, value: read === undefined ? text : unwrapped(read.value), ...position }
}

const QUOTE = 0x22
const BACKSLASH = 0x5c

/**
 * Splits a text into the objects and arrays that follow one another in it, with nothing, white space or
 * commas between, as Confluent's HTTP sink and Fluent Bit's `json_stream` send them. Each is its own text,
 * not parsed yet; undefined when anything else is between them.
 *
 * @param maxValues it ends with the first value beyond, so that the caller sees that there are too many
 */
export function splitJoined(text: string, maxValues: number): string[] | undefined {
  const values: string[] = []
  let depth = 0
  let start = 0
  let isInText = false
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (isInText) {
      if (code === BACKSLASH) index++
      else if (code === QUOTE) isInText = false
    } else if (isOpening(code)) {
      if (depth++ === 0) start = index
    } else if (depth === 0) {
      if (!isBetween(code)) return undefined
    } else if (code === QUOTE) isInText = true
    else if (isClosing(code) && --depth === 0) {
      values.push(text.slice(start, index + 1))
      if (values.length > maxValues) return values
    }
  }
  return depth === 0 ? values : undefined
}

/** `[` or `{`. The parser of the value distinguishes them. */
const isOpening = (code: number) => code === 0x5b || code === 0x7b
const isClosing = (code: number) => code === 0x5d || code === 0x7d
/** A comma, or white space (RFC 8259, section 2). */
const isBetween = (code: number) =>
  code === 0x2c || code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09
