import { RequestError } from "../errors.ts"
import { toJson } from "../json.ts"
import { checkRange, MAX_TIMER_MS } from "../limits.ts"
import { Compression, type Encoded } from "./compression.ts"
import { type Call, type CallOptions, callUntilAnswered } from "./request.ts"

export interface ClientOptions {
  /** The address of the service, such as `https://signals.example.com`. */
  url: string | URL
  /** An API key. Not needed where the service accepts calls without one. */
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

/** Parameters of an address; undefined and null are left out. */
type Query = Record<string, string | number | null | undefined>

/** Makes the calls of a `SignalClient`: address, key, JSON and compression. */
export class Transport {
  readonly #url: URL
  readonly #headers: Record<string, string>
  readonly #deadlineMs: number
  readonly #maxAnswerBytes: number
  readonly #parse: ((text: string) => unknown) | undefined
  readonly #compression: Compression
  readonly #fetch: typeof fetch

  constructor({ url, key, deadlineMs, maxAnswerBytes, compress, parse, fetch: fetcher }: ClientOptions) {
    this.#url = new URL(url)
    this.#headers = {
      Accept: "application/json",
      ...(key !== undefined && { Authorization: `Bearer ${key}` }),
    }
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

  get(path: string, query: Query, options: CallOptions): Promise<unknown> {
    return this.#call(options, { url: this.#addressOf(path, query), method: "GET", headers: {} })
  }

  delete(path: string, options: CallOptions): Promise<unknown> {
    return this.#call(options, { url: new URL(path, this.#url), method: "DELETE", headers: {} })
  }

  async post(
    path: string,
    body: unknown,
    options: CallOptions,
    { headers = {}, query = {} }: { headers?: Record<string, string>; query?: Query } = {},
  ): Promise<unknown> {
    const text = toJson(body)
    const endsAt = Date.now() + (options.deadlineMs ?? this.#deadlineMs)
    const send = ({ encoding, body }: Encoded, options: CallOptions) =>
      this.#call(options, {
        url: this.#addressOf(path, query),
        method: "POST",
        headers: {
          ...headers,
          "Content-Type": "application/json",
          ...(encoding && { "Content-Encoding": encoding }),
        },
        body,
      })
    const first = await this.#compression.encode(text)
    try {
      return await send(first, options)
    } catch (error) {
      if (!(error instanceof RequestError && error.status === 415) || first.encoding === undefined)
        throw error
      // The answer named the formats that the service accepts.
      const second = await this.#compression.encode(text)
      if (second.encoding === first.encoding) throw error
      return await send(second, { ...options, deadlineMs: Math.max(1, endsAt - Date.now()) })
    }
  }

  #addressOf(path: string, query: Query): URL {
    const url = new URL(path, this.#url)
    for (const [name, value] of Object.entries(query))
      if (value !== undefined && value !== null) url.searchParams.set(name, String(value))
    return url
  }

  async #call(
    options: CallOptions,
    call: Omit<Call, "headers"> & { headers: Record<string, string> },
  ): Promise<unknown> {
    const deadlineMs = checkRange("deadlineMs", options.deadlineMs ?? this.#deadlineMs, 1, MAX_TIMER_MS)
    const headers = new Headers(options.headers)
    for (const [name, value] of Object.entries({ ...this.#headers, ...call.headers }))
      headers.set(name, value)
    const limits = { deadlineMs, maxAnswerBytes: this.#maxAnswerBytes, parse: this.#parse }
    const onResponse = (response: Response) => {
      if (call.method === "POST") this.#compression.learn(response)
    }
    return callUntilAnswered(this.#fetch, { ...call, headers }, { ...options, ...limits, onResponse })
  }
}
