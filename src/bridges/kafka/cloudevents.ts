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
  let fault: string | undefined
  for (const [name, value] of headers) {
    if (!name.startsWith("ce-")) continue
    const read = decoded(value)
    attributes[name.slice(3)] = read ?? value
    if (read === undefined) fault = `the header ${name} has percent-encoded bytes that are not UTF-8`
  }
  const type = headers.get("content-type") ?? "application/json"
  const record = recordOfText({ ...attributes, datacontenttype: type }, text)
  return fault === undefined ? record : { ...record, fault }
}

function recordOfText(attributes: Fields, text: string): KafkaRecord {
  const data = text === "" ? null : readData(attributes.datacontenttype, text)
  return isTooDeep(data) ? { ...recordOf(attributes, text), fault: TOO_DEEP } : recordOf(attributes, data)
}

/**
 * Knative's KafkaSource writes a record's position into the subject:
 * https://github.com/knative-extensions/eventing-kafka-broker
 */
const KNATIVE_POSITION = /^partition:\d+#\d+$/

function recordOf(attributes: Fields, data: unknown): KafkaRecord {
  const { id, source, subject, time, partitionkey, key } = attributes
  const named = typeof id === "string" && id !== "" && typeof source === "string" && source !== ""
  const value = unwrapped(data)
  return {
    value,
    key: partitionkey ?? key,
    subject: typeof subject === "string" && KNATIVE_POSITION.test(subject) ? undefined : subject,
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

/**
 * Decodes the value of a header: quotation marks around it and their escapes are removed, then bytes are
 * percent-decoded once. Undefined when these are not UTF-8.
 *
 * @see https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#3132-http-header-values
 */
function decoded(header: string): string | undefined {
  const [, quoted] = /^"((?:[^"\\]|\\.)*)"$/.exec(header) ?? []
  const value = quoted?.replace(/\\(.)/g, "$1") ?? header
  try {
    return value.replace(/(?:%[0-9a-f]{2})+/gi, decodeURIComponent)
  } catch {
    return undefined
  }
}
