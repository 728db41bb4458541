import { Unreadable } from "./shape-errors.ts"

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false })

/** The text of UTF-8 bytes, a byte order mark left out (RFC 8259, section 8.1). Throws `Unreadable` instead of mending bad bytes. */
export function decodeUtf8(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes)
  } catch {
    const msg = "Input should be a valid string, unable to parse raw data as a unicode string"
    throw new Unreadable([{ type: "string_unicode", loc: ["body"], msg }])
  }
}
