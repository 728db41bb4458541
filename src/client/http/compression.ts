/**
 * Codings by the order in which they are taken, each named as `CompressionStream` does. Brotli is none of them: the runtimes that have it
 * compress at its highest quality, which takes some 70 times as long as gzip.
 */
const FORMATS = ["zstd", "gzip", "deflate"] as const
type Format = (typeof FORMATS)[number]
/** The types of some runtimes do not know all of them. */
type StreamFormat = ConstructorParameters<typeof CompressionStream>[0]

/** Until the service has said what it accepts. Every version of it reads gzip. */
const UNTOLD: { formats: readonly Format[]; minCharacters: number } = { formats: ["gzip"], minCharacters: 4096 }
const MIN_CHARACTERS = 1024

/** Longer than any list that says something. */
const MAX_HEADER_CHARACTERS = 1000

export interface Encoded {
  encoding: Format | undefined
  body: string | Uint8Array<ArrayBuffer>
}

/** Compresses bodies by what the service says it accepts, and what the runtime can. */
export class Compression {
  readonly #formats: readonly Format[]
  #accepted: readonly Format[] | undefined

  constructor({ enabled }: { enabled: boolean }) {
    this.#formats = enabled ? FORMATS.filter(isSupported) : []
  }

  /** Learns from an answer to a POST (RFC 9110, section 12.5.3). */
  learn({ status, headers }: Response): void {
    const header = headers.get("Accept-Encoding")
    // A refusal that does not say what it would accept: nothing is safe but the body as it is.
    if (header === null && status === 415) this.#accepted = []
    if (header !== null && header.length <= MAX_HEADER_CHARACTERS) this.#accepted = acceptedFormats(header)
  }

  /** @throws {unknown} the runtime's error */
  async encode(text: string): Promise<Encoded> {
    const { formats, minCharacters } = this.#accepted ? { formats: this.#accepted, minCharacters: MIN_CHARACTERS } : UNTOLD
    const format = text.length > minCharacters ? this.#formats.find((one) => formats.includes(one)) : undefined
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
