import type { Message } from "@platformatic/kafka"
import { type FieldMapping, mapKafkaRecord } from "../../bridges/kafka/mapping.ts"
import { type Content, type KafkaRecord, readContent } from "../../bridges/kafka/record.ts"
import { readKafkaValue } from "../../bridges/kafka/requests.ts"
import type { FailedRecord } from "../files/failures.ts"

/** The signals and scores of some messages, and the messages that became neither. */
export interface Mapped {
  signals: Record<string, unknown>[]
  /** Topic, partition and offset of each signal. */
  places: string[]
  scores: Record<string, unknown>[]
  /** The same of each score. */
  scorePlaces: string[]
  failed: FailedRecord[]
  /** How many were skipped of each kind. */
  skipped: Record<string, number>
}

export function mapMessages(
  messages: readonly Message[],
  mapping: FieldMapping,
  cluster: string | undefined,
): Mapped {
  const mapped: Mapped = { signals: [], places: [], scores: [], scorePlaces: [], failed: [], skipped: {} }
  for (const message of messages) {
    const place = placeOf(message)
    const record = readMessage(message, cluster)
    const delivered = mapKafkaRecord(record, mapping)
    if ("skipped" in delivered)
      mapped.skipped[delivered.skipped] = (mapped.skipped[delivered.skipped] ?? 0) + 1
    else if ("refused" in delivered) {
      const { refused: error, code = "unreadable_record", field } = delivered
      mapped.failed.push({ place, error, code, field, record: bytesOf(message) })
    } else if ("score" in delivered) {
      mapped.scores.push(delivered.score)
      mapped.scorePlaces.push(place)
    } else {
      mapped.signals.push(delivered.signal)
      mapped.places.push(place)
    }
  }
  return mapped
}

const placeOf = ({ topic, partition, offset }: Message) => `${topic}/${partition}/${offset}`

/** Maps a message to a record of the webhook. The record gets a `fault` when its bytes are not text. */
function readMessage(message: Message, cluster: string | undefined): KafkaRecord {
  const { topic, partition, offset, timestamp } = message
  const key = message.key ? readContent(message.key, "the key") : undefined
  const value = message.value ? readContent(message.value, "the value") : undefined
  const error = errorOf(value) ?? errorOf(key)
  const record = readKafkaValue(
    {
      topic,
      partition,
      offset: Number(offset),
      timestamp: Number(timestamp),
      key: textOf(key),
      headers: headersOf(message.headerEntries),
    },
    textOf(value),
    cluster,
  )
  return error === undefined ? record : { ...record, fault: error }
}

const textOf = (content: Content | undefined) => (content && "text" in content ? content.text : undefined)
const errorOf = (content: Content | undefined) => (content && "error" in content ? content.error : undefined)

/**
 * An object of names and values; a list where a name is repeated, in the form that a mapping reads as well.
 */
function headersOf(entries: Message["headerEntries"]): unknown {
  const headers = entries.map(([name, header]) => ({ key: name.toString("utf8"), value: headerOf(header) }))
  const isRepeated = new Set(headers.map(({ key }) => key)).size < headers.length
  return isRepeated ? headers : Object.fromEntries(headers.map(({ key, value }) => [key, value]))
}

/** Headers often hold bytes, such as the ids of a trace. These are not an error; base64 keeps them. */
function headerOf(header: Buffer | null | undefined): unknown {
  if (!header) return null
  const content = readContent(header, "the header")
  return "text" in content ? content.text : { base64: header.toString("base64") }
}

/** The message byte for byte, for the failures file. */
function bytesOf({
  topic,
  partition,
  offset,
  timestamp,
  key,
  value,
  headerEntries,
}: Message): Record<string, unknown> {
  return {
    topic,
    partition,
    offset: String(offset),
    timestamp: String(timestamp),
    key_base64: key?.toString("base64") ?? null,
    value_base64: value?.toString("base64") ?? null,
    headers_base64: headerEntries.map(([name, header]) => [
      name.toString("base64"),
      header?.toString("base64") ?? null,
    ]),
  }
}
