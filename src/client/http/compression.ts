/**
 * The formats in order of preference, with the names of `CompressionStream`. Brotli is left out: the runtimes
 * that have it compress at its highest quality, which takes about 70 times as long as gzip.
 */
const FORMATS = ["zstd", "gzip", "deflate"] as const
type Format = (typeof FORMATS)[number]
/** The types of some runtimes do not know all of them. */
type StreamFormat = ConstructorParameters<typeof CompressionStream>[0]

/**
 * Used until an answer names the formats that the service accepts. Every version of the service reads gzip.
 */
const BEFORE_FIRST_ANSWER: { formats: readonly Format[]; minCharacters: number } = {
  formats: ["gzip"],
  minCharacters: 4096,
}
const MIN_CHARACTERS = 1024

/** Bound of the header; a useful list is far shorter. */
const MAX_HEADER_CHARACTERS = 1000

export interface Encoded {
  encoding: Format | undefined
  body: string | Uint8Array<ArrayBuffer>
}

/** Compresses bodies in a format that both the service and the runtime have. */
export class Compression {
  readonly #formats: readonly Format[]
  #accepted: readonly Format[] | undefined

  constructor({ enabled }: { enabled: boolean }) {
    this.#formats = enabled ? FORMATS.filter(isSupported) : []
  }

  /** Learns from an answer to a POST (RFC 9110, section 12.5.3). */
  learn({ status, headers }: Response): void {
    const header = headers.get("Accept-Encoding")
    // A 415 without a list of formats: only an uncompressed body is safe.
    if (header === null && status === 415) this.#accepted = []
    if (header !== null && header.length <= MAX_HEADER_CHARACTERS) this.#accepted = acceptedFormats(header)
  }

  /** @throws {unknown} the runtime's error */
  async encode(text: string): Promise<Encoded> {
    const { formats, minCharacters } = this.#accepted
      ? { formats: this.#accepted, minCharacters: MIN_CHARACTERS }
      : BEFORE_FIRST_ANSWER
    const format =
      text.length > minCharacters ? this.#formats.find((one) => formats.includes(one)) : undefined
    return { encoding: format, body: format === undefined ? text : await compressed(text, format) }
  }
}

/** The formats that a list such as `zstd, gzip;q=0.5, *;q=0` accepts. */
export function acceptedFormats(header: string): Format[] {
  const weights = new Map<string, boolean>()
  for (const entry of header.toLowerCase().split(",")) {
    const [name = "", ...parameters] = entry.split(";").map((part) => part.trim())
    weights.set(name, !parameters.some((parameter) => /^q\s*=\s*0(\.0{0,3})?$/.test(parameter)))
  }
  return FORMATS.filter((format) => weights.get(format) ?? weights.get("*") ?? false)
}

/** Each runtime has some of the formats, and throws for the others. */
function isSupported(format: Format): boolean {
  try {
    return Boolean(new CompressionStream(format as StreamFormat))
  } catch {
    return false
  }
}

async function compressed(text: string, format: Format): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream(format as StreamFormat))
  return new Uint8Array(await new Response(stream).arrayBuffer())
}
