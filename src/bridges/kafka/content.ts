import { isFields } from "../../signals/json.ts"
import { decodeUtf8 } from "../../signals/utf8.ts"

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
