import { RequestError } from "./errors.ts"
import { toJson } from "./json.ts"
import { type Call, type CallOptions, callUntilAnswered } from "./request.ts"
import type { BatchAnswer, BatchRecord, ConversationStats, NewSignal, StoredSignal } from "./types.ts"

export interface ClientOptions {
  /** Where the service is, such as `https://signals.example.com`. */
  url: string | URL
  /** An API key; none where access is open. */
  key?: string | undefined
  /** How long a call may take, all its attempts included. Default: 30,000. */
  deadlineMs?: number | undefined
  /** Compress what is larger than a few KB. Default: true where the runtime can. */
  gzip?: boolean | undefined
  /** Another `fetch`. */
  fetch?: typeof fetch | undefined
}

export interface SendOptions extends CallOptions {
  /** Under which a repetition is known to be one. Default: a new one each call, the same for all its attempts. */
  idempotencyKey?: string | undefined
}

export interface BatchOptions extends SendOptions {
  /** Store every signal or none. Default: false, each for itself. */
  allOrNothing?: boolean | undefined
  /** Leave what succeeded out of `results`. */
  minimal?: boolean | undefined
}

/** Times are as in `NewSignal`. */
export interface ListFilter {
  context_window_id?: string | undefined
  signal_source?: string | undefined
  /** Inclusive. */
  since?: string | undefined
  /** Exclusive. */
  until?: string | undefined
  /** Signals a page, 1 to 1,000. Default: 1,000. It is no limit of what is given. */
  pageSize?: number | undefined
}

const DEFAULT_DEADLINE_MS = 30_000
const WORTH_PACKING_CHARACTERS = 4096

/** Speaks to signal-ingest. Every method rejects with a `SignalError` or resolves; see each for which. */
export class SignalClient {
  readonly #url: URL
  readonly #headers: Record<string, string>
  readonly #deadlineMs: number
  readonly #gzip: boolean
  readonly #fetch: typeof fetch

  constructor(options: ClientOptions) {
    this.#url = new URL(options.url)
    this.#headers = options.key === undefined ? {} : { Authorization: `Bearer ${options.key}` }
    this.#deadlineMs = options.deadlineMs ?? DEFAULT_DEADLINE_MS
    this.#gzip = (options.gzip ?? true) && typeof CompressionStream === "function"
    // Browsers want it called on the global object.
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init))
  }

  /**
   * Stores up to 10,000 signals in one transaction.
   *
   * Every attempt carries the same idempotency key, so a retry never stores twice.
   *
   * @param signals in the order in which the answer's `results` speak of them
   * @returns counts and one result a signal; unless `allOrNothing`, failures are results, not errors
   * @throws {BatchRejectedError} `allOrNothing` and a signal was refused; nothing was stored
   * @throws {ValidationError} the batch's shape is wrong, or the key stands for another batch; nothing was stored
   * @throws {UnauthorizedError | RequestError} nothing was stored
   * @throws {DeadlineError | AbortedError} it may have been stored; sending again with the same key is safe
   * @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
   */
  async createBatch(signals: readonly NewSignal[], options: BatchOptions = {}): Promise<BatchAnswer> {
    const body = { signals, fail_on_error: options.allOrNothing ?? false }
    const answer = await this.#post("/api/signals/batch", body, options, options.minimal ? { Prefer: "return=minimal" } : {})
    return answer.json() as Promise<BatchAnswer>
  }

  /**
   * Stores one signal.
   *
   * @returns the signal as it is stored; that of an earlier one with the same `dedupe_key`, if there is one
   * @throws {ValidationError} its shape or a value is wrong; nothing was stored
   * @throws {UnauthorizedError | RequestError | DeadlineError | AbortedError} as `createBatch`
   */
  async create(signal: NewSignal, options: SendOptions = {}): Promise<StoredSignal> {
    return (await this.#post("/api/signals", signal, options, {})).json() as Promise<StoredSignal>
  }

  /** Every signal that `filter` leaves, newest first, fetched page by page as they are asked for. */
  async *list(filter: ListFilter = {}, options: CallOptions = {}): AsyncGenerator<StoredSignal, void, undefined> {
    const { pageSize = 1000, ...conditions } = filter
    let cursor: string | null = null
    do {
      const answer = await this.#get("/api/signals", { ...conditions, limit: pageSize, cursor }, options)
      const page = (await answer.json()) as { signals: StoredSignal[]; next_cursor: string | null }
      yield* page.signals
      cursor = page.next_cursor
    } while (cursor !== null)
  }

  /** Count, mean score and newest signal of each conversation since a time (default: a day ago), most signals first, at most `limit` (1,000). */
  async stats(
    query: { since?: string | undefined; limit?: number | undefined } = {},
    options: CallOptions = {},
  ): Promise<ConversationStats[]> {
    const answer = (await (await this.#get("/api/signals/stats", query, options)).json()) as { stats: ConversationStats[] }
    return answer.stats
  }

  /** What the ledger says of a batch; undefined when it has none of this id, so that nothing was stored under it. */
  async batch(transactionId: string, options: CallOptions = {}): Promise<BatchRecord | undefined> {
    try {
      const answer = await this.#get(`/api/batches/${encodeURIComponent(transactionId)}`, {}, options)
      return (await answer.json()) as BatchRecord
    } catch (error) {
      if (error instanceof RequestError && error.status === 404) return undefined
      throw error
    }
  }

  async #post(path: string, body: unknown, options: SendOptions, headers: Record<string, string>): Promise<Response> {
    const text = toJson(body)
    const packed = this.#gzip && text.length > WORTH_PACKING_CHARACTERS
    return this.#call(options, {
      url: new URL(path, this.#url),
      method: "POST",
      headers: {
        ...headers,
        "Content-Type": "application/json",
        "Idempotency-Key": options.idempotencyKey ?? crypto.randomUUID(),
        ...(packed && { "Content-Encoding": "gzip" }),
      },
      body: packed ? await gzip(text) : text,
    })
  }

  #get(path: string, query: Record<string, string | number | null | undefined>, options: CallOptions): Promise<Response> {
    const url = new URL(path, this.#url)
    for (const [name, value] of Object.entries(query))
      if (value !== undefined && value !== null) url.searchParams.set(name, String(value))
    return this.#call(options, { url, method: "GET", headers: {} })
  }

  #call(options: CallOptions, call: Call): Promise<Response> {
    const headers = { Accept: "application/json", ...this.#headers, ...call.headers }
    return callUntilAnswered(
      this.#fetch,
      { ...call, headers },
      { ...options, deadlineMs: options.deadlineMs ?? this.#deadlineMs },
    )
  }
}

async function gzip(text: string): Promise<Uint8Array<ArrayBuffer>> {
  const packed = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"))
  return new Uint8Array(await new Response(packed).arrayBuffer())
}
