import { promisify } from "node:util"
import { gzip } from "node:zlib"
import { CSV_HEADER, csvLine, type ExportedRow, ndjsonLine } from "../../signals/lines.ts"
import type { Encoder } from "./encoder.ts"

/** Long enough that compression does not suffer; a page of the service has 8 MB at most. */
const BLOCK_CHARACTERS = 4 * 1024 * 1024

/**
 * NDJSON or CSV. Compressed, each block is a member of its own (RFC 1952, section 2.2), so that a file can be
 * continued.
 */
export class LineEncoder implements Encoder {
  readonly #line: (row: ExportedRow) => string
  readonly #gzip: boolean
  #text: string[] = []
  #characters = 0
  #isEmpty: boolean

  /** @param begun the file has blocks already */
  constructor({ format, gzip, begun }: { format: "ndjson" | "csv"; gzip: boolean; begun: boolean }) {
    this.#line = format === "csv" ? csvLine : ndjsonLine
    this.#gzip = gzip
    this.#isEmpty = !begun
    if (format === "csv" && !begun) this.#push(CSV_HEADER)
  }

  add(row: ExportedRow): void {
    this.#push(this.#line(row))
  }

  get isFull(): boolean {
    return this.#characters >= BLOCK_CHARACTERS
  }

  async takeBlock(): Promise<Uint8Array> {
    const text = this.#text.join("")
    this.#text = []
    this.#characters = 0
    if (text === "") return new Uint8Array()
    this.#isEmpty = false
    return this.#gzip ? await promisify(gzip)(text) : Buffer.from(text)
  }

  async finish(): Promise<Uint8Array> {
    // A file without a member is no gzip.
    return this.#gzip && this.#isEmpty ? await promisify(gzip)("") : new Uint8Array()
  }

  save(): string {
    return ""
  }

  #push(text: string): void {
    this.#text.push(text)
    this.#characters += text.length
  }
}
