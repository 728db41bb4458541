import { brotliDecompressSync, constants, gunzipSync, inflateSync, zstdDecompressSync } from "node:zlib"
import { bodyTooLarge, damagedBody } from "../problems.ts"

interface Decoded {
  buffer: Uint8Array
  /** `bytesWritten`: how much of the input was read. */
  engine: { bytesWritten: number }
}

interface DecoderOptions {
  maxOutputLength: number
  info: true
  params?: Record<number, number>
}

/** Throws a `RangeError` when `maxOutputLength` is reached, and another error when the bytes are damaged or end early. */
type Decoder = (bytes: Uint8Array, options: DecoderOptions) => Decoded

/** With `info`, Node's functions return what the decoder read, too; their types do not say so. */
const withInfo = (decode: (bytes: Uint8Array, options: DecoderOptions) => Uint8Array) => decode as unknown as Decoder

/** Senders must need no larger window: a decoder reserves it (RFC 9659). */
const MAX_ZSTD_WINDOW_LOG = 23

const decodeZstd: Decoder = (bytes, options) =>
  withInfo(zstdDecompressSync)(bytes, { ...options, params: { [constants.ZSTD_d_windowLogMax]: MAX_ZSTD_WINDOW_LOG } })

interface Encoding {
  decode: Decoder
  /** Parts, one after the other, of which a body may consist. Node reads the members of gzip itself. */
  maxParts: number
  /** In messages. */
  title: string
}

/** A tool that compresses in parallel writes a frame for some MiB; a body of empty frames would cost a decoder for each. */
const MAX_ZSTD_FRAMES = 100

/**
 * The content codings of a body, in the order of preference of `Accept-Encoding`.
 *
 * `deflate` is the zlib format, as RFC 9110 says in section 8.4.1.2: what some call "deflate" without its header can only be guessed at.
 */
const ENCODINGS = {
  zstd: { decode: decodeZstd, maxParts: MAX_ZSTD_FRAMES, title: "Zstandard" },
  gzip: { decode: withInfo(gunzipSync), maxParts: 1, title: "gzip" },
  br: { decode: withInfo(brotliDecompressSync), maxParts: 1, title: "Brotli" },
  deflate: { decode: withInfo(inflateSync), maxParts: 1, title: "deflate (in the zlib format, RFC 1950)" },
} satisfies Record<string, Encoding>

export type EncodingName = keyof typeof ENCODINGS

export const ENCODING_NAMES = Object.keys(ENCODINGS) as [EncodingName, ...EncodingName[]]

/** @see https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3 */
export const ACCEPT_ENCODING = ENCODING_NAMES.join(", ")

/** The coding of a `Content-Encoding`; undefined for one that is not read here, and for several, one over the other. */
export function encodingOf(header: string | undefined): EncodingName | "identity" | undefined {
  const name = (header ?? "identity").trim().toLowerCase()
  // RFC 9110, section 8.4.1.3.
  if (name === "x-gzip") return "gzip"
  return name === "identity" || Object.hasOwn(ENCODINGS, name) ? (name as EncodingName | "identity") : undefined
}

/** What the runtime's output buffer begins with; it doubles. */
const FIRST_OUTPUT_BYTES = 16 * 1024

/**
 * Decodes a body, and stops soon after `limitBytes`, so that a small body cannot unfold into a large one. While it runs, it holds less
 * than twice as much.
 *
 * @throws {Problem} 413: it is larger; 422: it is damaged, ends early, or something follows it
 */
export function decode(name: EncodingName, bytes: Uint8Array, limitBytes: number): Uint8Array {
  const encoding: Encoding = ENCODINGS[name]
  const parts: Uint8Array[] = []
  let [left, length] = [bytes, 0]
  do {
    if (parts.length === encoding.maxParts) throw damagedBody(name, encoding.title)
    const { buffer, engine } = decodePart(encoding, name, left, limitBytes)
    length += buffer.length
    if (length > limitBytes) throw bodyTooLarge(limitBytes)
    parts.push(buffer)
    // gzip may end in zeros, which its decoder leaves (RFC 1952, section 2.2, and gzip's manual).
    left = name === "gzip" ? left.subarray(left.length) : left.subarray(Math.max(1, engine.bytesWritten))
  } while (left.length > 0)
  const [only] = parts
  return parts.length === 1 && only ? only : Buffer.concat(parts, length)
}

function decodePart({ decode, title }: Encoding, name: EncodingName, bytes: Uint8Array, limitBytes: number): Decoded {
  // The runtime compares its buffer, not what is in it, with the limit: a limit between two powers of two would refuse a smaller body.
  let maxOutputLength = FIRST_OUTPUT_BYTES
  while (maxOutputLength < limitBytes) maxOutputLength *= 2
  try {
    return decode(bytes, { maxOutputLength, info: true })
  } catch (error) {
    throw error instanceof RangeError ? bodyTooLarge(limitBytes) : damagedBody(name, title)
  }
}
