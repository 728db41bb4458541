import { brotliDecompressSync, constants, gunzipSync, inflateSync, zstdDecompressSync } from "node:zlib"
import { bodyTooLarge, damagedBody } from "../request/problems.ts"

interface Decoded {
  buffer: Uint8Array
  /** `bytesWritten`: the bytes of the input that were read. */
  engine: { bytesWritten: number }
}

interface DecoderOptions {
  maxOutputLength: number
  info: true
  params?: Record<number, number>
}

/**
 * Throws a `RangeError` when `maxOutputLength` is reached, and another error when the bytes are damaged or
 * end early.
 */
type Decoder = (bytes: Uint8Array, options: DecoderOptions) => Decoded

/** With `info`, Node's functions also return the decoder, which their types do not declare. */
const withInfo = (decode: (bytes: Uint8Array, options: DecoderOptions) => Uint8Array) =>
  decode as unknown as Decoder

/** The largest window of a sender (RFC 9659): the decoder allocates the whole window. */
const MAX_ZSTD_WINDOW_LOG = 23

const decodeZstd: Decoder = (bytes, options) =>
  withInfo(zstdDecompressSync)(bytes, {
    ...options,
    params: { [constants.ZSTD_d_windowLogMax]: MAX_ZSTD_WINDOW_LOG },
  })

interface Encoding {
  decode: Decoder
  /** The most parts that follow each other in a body. Node reads the members of gzip itself. */
  maxParts: number
  /** In messages. */
  title: string
}

/**
 * A tool that compresses in parallel writes a frame for a few MiB. Every frame costs a decoder, so empty
 * frames must be bounded.
 */
const MAX_ZSTD_FRAMES = 100

/**
 * The content codings of a body, in the order of preference of `Accept-Encoding`.
 *
 * `deflate` is the zlib format (RFC 9110, section 8.4.1.2). Data without its header, which some senders call
 * "deflate", is not accepted.
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

/**
 * The coding of a `Content-Encoding`; undefined for an unknown coding, and for several codings. Empty members
 * of the list count for nothing (RFC 9110, section 5.6.1.2).
 */
export function encodingOf(header: string | undefined): EncodingName | "identity" | undefined {
  const [name = "identity", ...more] = (header ?? "")
    .toLowerCase()
    .split(",")
    .map((member) => member.trim())
    .filter((member) => member !== "")
  if (more.length > 0) return undefined
  // RFC 9110, section 8.4.1.3.
  if (name === "x-gzip") return "gzip"
  return name === "identity" || Object.hasOwn(ENCODINGS, name)
    ? (name as EncodingName | "identity")
    : undefined
}

/** The first size of the runtime's output buffer, which doubles as needed. */
const FIRST_OUTPUT_BYTES = 16 * 1024

/**
 * Decodes a body, and stops soon after `limitBytes`, so that a small body cannot expand without bound. It
 * uses less than twice that much memory.
 *
 * @throws {Problem} 413: the decoded body is larger; 422: the body is damaged, ends early, or has more bytes
 *   after its end
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
    // gzip data may end in zeros, which its decoder does not read (RFC 1952, section 2.2, and gzip's manual).
    left = name === "gzip" ? left.subarray(left.length) : left.subarray(Math.max(1, engine.bytesWritten))
  } while (left.length > 0)
  const [only] = parts
  return parts.length === 1 && only ? only : Buffer.concat(parts, length)
}

function decodePart(
  { decode, title }: Encoding,
  name: EncodingName,
  bytes: Uint8Array,
  limitBytes: number,
): Decoded {
  // The runtime compares the size of its buffer with the limit, not its content. Only a limit that is a power
  // of two is exact.
  let maxOutputLength = FIRST_OUTPUT_BYTES
  while (maxOutputLength < limitBytes) maxOutputLength *= 2
  try {
    return decode(bytes, { maxOutputLength, info: true })
  } catch (error) {
    throw error instanceof RangeError ? bodyTooLarge(limitBytes) : damagedBody(name, title)
  }
}
