import { Unreadable } from "./shape-errors.ts"

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false })

/**
 * Decodes UTF-8, without a byte order mark (RFC 8259, section 8.1).
 *
 * @throws {Unreadable} bytes are not UTF-8; none is replaced
 */
export function decodeUtf8(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes)
  } catch {
    const msg = "Input should be a valid string, unable to parse raw data as a unicode string"
    throw new Unreadable([{ type: "string_unicode", loc: ["body"], msg }])
  }
}
