import { isFields, parseJson } from "../../signals/json.ts"
import { isTooDeep, TOO_DEEP } from "../../signals/payload.ts"
import { Unreadable } from "../../signals/shape-errors.ts"
import { changeOf } from "./mapping.ts"
import { type Fields, identity, type KafkaRecord, readBase64, unwrapped } from "./record.ts"

/** Whether an object is an event in structured mode. Its attributes may still be wrong. */
export const isCloudEvent = (value: unknown): value is Fields =>
  isFields(value) && typeof value.specversion === "string" && ("type" in value || "source" in value)

/** https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md */
export function recordOfStructured(event: Fields): KafkaRecord {
  const { data, data_base64, ...attributes } = event
  if (typeof data_base64 !== "string") return recordOf(attributes, data ?? null)
  const content = readBase64(data_base64, "data_base64")
  if ("error" in content) return { ...recordOf(attributes, data_base64), fault: content.error }
  return recordOfText(attributes, content.text)
}

/**
 * Attributes are headers with the prefix `ce-`:
 * https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
 */
export function recordOfBinary(headers: Headers, text: string): KafkaRecord {
  const attributes: Fields = {}
  for (const [name, value] of headers)
    if (name.startsWith("ce-")) attributes[name.slice(3)] = percentDecoded(value)
  const type = headers.get("content-type") ?? "application/json"
  return recordOfText({ ...attributes, datacontenttype: type }, text)
}

function recordOfText(attributes: Fields, text: string): KafkaRecord {
  const data = text === "" ? null : readData(attributes.datacontenttype, text)
  return isTooDeep(data) ? { ...recordOf(attributes, text), fault: TOO_DEEP } : recordOf(attributes, data)
}

/**
 * Knative's KafkaSource writes a record's place into the subject:
 * https://github.com/knative-extensions/eventing-kafka-broker
 */
const KNATIVE_PLACE = /^partition:\d+#\d+$/

function recordOf(attributes: Fields, data: unknown): KafkaRecord {
  const { id, source, subject, time, partitionkey, key } = attributes
  const named = typeof id === "string" && id !== "" && typeof source === "string" && source !== ""
  const value = unwrapped(data)
  return {
    value,
    key: partitionkey ?? key,
    subject: typeof subject === "string" && KNATIVE_PLACE.test(subject) ? undefined : subject,
    timestamp: time,
    cloudevent: attributes,
    // The specification: source and id together identify an event. A source is a URI, so it has no space.
    ...(named
      ? { identity: identity("cloudevent", `${source} ${id}${changeOf(attributes, value)}`) }
      : { fault: "a CloudEvent must have an id and a source" }),
  }
}

/** Reads JSON; returns any other content as text. */
function readData(type: unknown, text: string): unknown {
  if (typeof type === "string" && !/^(application\/([\w.-]+\+)?json|text\/json)\b/i.test(type)) return text
  try {
    return parseJson(text)
  } catch (error) {
    if (error instanceof Unreadable) return text
    throw error
  }
}

function percentDecoded(value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    return value
  }
}
