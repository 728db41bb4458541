import { RequestError } from "../api/errors.ts"
import { checkRange, MAX_TIMER_MS } from "../base/guards.ts"
import { callerIdOf } from "../base/keys.ts"
import { addressOf, checkToken, headersOf, type Query, readAddress } from "./address.ts"
import { Compression, type Encoded } from "./compression.ts"
import { type Call, type CallOptions, callUntilAnswered } from "./request.ts"

export interface ClientOptions {
  /**
   * The address of the service, such as `https://signals.example.com`. A path is kept; a user name, a query
   * and other schemes than http and https are refused.
   */
  url: string | URL
  /**
   * An API key, of visible ASCII characters. Not needed where the service accepts calls without one; an empty
   * text is none.
   */
  key?: string | undefined
  /** How long a call may take, all its attempts included. Default: 30,000. */
  deadlineMs?: number | undefined
  /** Bytes of an answer's body, decoded, that are read. Default: 64 MiB. */
  maxAnswerBytes?: number | undefined
  /**
   * Compress bodies of more than 1 KB in a format that the service accepts. Default: true where the runtime
   * has `CompressionStream`.
   */
  compress?: boolean | undefined
  /**
   * Reads the JSON of answers. Default: `JSON.parse`, which rounds numbers of a payload that a double cannot
   * hold. It must throw what is not JSON.
   */
  parse?: ((text: string) => unknown) | undefined
  /** Replaces the runtime's `fetch`. */
  fetch?: typeof fetch | undefined
}

const DEFAULT_DEADLINE_MS = 30_000
const DEFAULT_MAX_ANSWER_BYTES = 64 * 1024 ** 2

/** What a call sends and what it accepts as its answer. */
export interface Exchange {
  query?: Query
  /** Whether the JSON of a success has the fields that the call uses. */
  isExpected: (json: unknown) => boolean
}

/** Makes the calls of a `SignalClient`: address, key and compression. */
export class Transport {
  readonly #url: URL
  readonly #key: string | undefined
  readonly #deadlineMs: number
  readonly #maxAnswerBytes: number
  readonly #parse: ((text: string) => unknown) | undefined
  readonly #compression: Compression
  readonly #fetch: typeof fetch

  /** @throws {RangeError | TypeError} an option is out of its range; no message has the key */
  constructor({ url, key, deadlineMs, maxAnswerBytes, compress, parse, fetch: fetcher }: ClientOptions) {
    this.#url = readAddress(url)
    this.#key = key ? checkToken("key", key) : undefined
    this.#deadlineMs = checkRange("deadlineMs", deadlineMs ?? DEFAULT_DEADLINE_MS, 1, MAX_TIMER_MS)
    this.#maxAnswerBytes = checkRange(
      "maxAnswerBytes",
      maxAnswerBytes ?? DEFAULT_MAX_ANSWER_BYTES,
      1,
      2 ** 29,
    )
    this.#parse = parse
    this.#compression = new Compression({ enabled: compress ?? true })
    // Browsers refuse `fetch` as a method of another object.
    this.#fetch = fetcher ?? ((input, init) => fetch(input, init))
  }

  get deadlineMs(): number {
    return this.#deadlineMs
  }

  /** @see callerIdOf */
  callerId(): Promise<string> {
    return callerIdOf(this.#url.href.replace(/\/$/, ""), this.#key)
  }

  get(path: string, exchange: Exchange, options: CallOptions): Promise<unknown> {
    return this.#call(options, { method: "GET", path, exchange })
  }

  /** Gets a path; undefined when the service, and not something in front of it, says that there is none. */
  async find<Found>(
    path: string,
    isExpected: Exchange["isExpected"],
    options: CallOptions,
  ): Promise<Found | undefined> {
    try {
      return (await this.get(path, { isExpected }, options)) as Found
    } catch (error) {
      if (error instanceof RequestError && error.status === 404 && error.code === "not_found")
        return undefined
      throw error
    }
  }

  delete(path: string, exchange: Exchange, options: CallOptions): Promise<unknown> {
    return this.#call(options, { method: "DELETE", path, exchange })
  }

  /** @param text the body, as JSON */
  patch(path: string, text: string, exchange: Exchange, options: CallOptions): Promise<unknown> {
    const headers = { "Content-Type": "application/json" }
    return this.#call(options, { method: "PATCH", path, exchange, headers, body: text })
  }

  /** @param text the body, as JSON */
  async post(
    path: string,
    text: string,
    exchange: Exchange & { headers?: Record<string, string> },
    options: CallOptions,
  ): Promise<unknown> {
    const endsAt = performance.now() + (options.deadlineMs ?? this.#deadlineMs)
    const send = ({ encoding, body }: Encoded, options: CallOptions) => {
      const headers = {
        ...exchange.headers,
        "Content-Type": "application/json",
        ...(encoding && { "Content-Encoding": encoding }),
      }
      return this.#call(options, { method: "POST", path, exchange, headers, body })
    }
    const first = await this.#compression.encode(text)
    try {
      return await send(first, options)
    } catch (error) {
      if (!(error instanceof RequestError && error.status === 415) || first.encoding === undefined)
        throw error
      // The answer named the formats that the service accepts.
      const second = await this.#compression.encode(text)
      if (second.encoding === first.encoding) throw error
      return await send(second, {
        ...options,
        deadlineMs: Math.max(1, Math.ceil(endsAt - performance.now())),
      })
    }
  }

  async #call(
    options: CallOptions,
    {
      method,
      path,
      exchange,
      headers = {},
      body,
    }: Pick<Call, "method" | "body"> & {
      path: string
      exchange: Exchange
      headers?: Record<string, string>
    },
  ): Promise<unknown> {
    const deadlineMs = checkRange("deadlineMs", options.deadlineMs ?? this.#deadlineMs, 1, MAX_TIMER_MS)
    const onResponse = (response: Response) => {
      if (method === "POST") this.#compression.learn(response)
    }
    return callUntilAnswered(
      this.#fetch,
      {
        url: addressOf(this.#url, path, exchange.query),
        method,
        headers: this.#headersOf(options.headers, headers),
        body,
      },
      {
        ...options,
        deadlineMs,
        answer: {
          maxBytes: this.#maxAnswerBytes,
          parse: this.#parse,
          isExpected: exchange.isExpected,
          secret: this.#key,
        },
        onResponse,
      },
    )
  }

  #headersOf(given: Readonly<Record<string, string>> | undefined, own: Record<string, string>): Headers {
    const headers = headersOf(given)
    headers.set("Accept", "application/json")
    if (this.#key !== undefined) headers.set("Authorization", `Bearer ${this.#key}`)
    for (const [name, value] of Object.entries(own)) headers.set(name, value)
    return headers
  }
}
