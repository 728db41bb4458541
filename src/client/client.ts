import type { Erasure, NewErasure } from "./erasure.ts"
import { RequestError } from "./errors.ts"
import { type FeedOptions, followFeed } from "./feed.ts"
import type { DeadLetterFilter, ListFilter, ReplayChoice } from "./filters.ts"
import type { CallOptions } from "./http/request.ts"
import { type ClientOptions, Transport } from "./http/transport.ts"
import type {
  BatchAnswer,
  BatchRecord,
  BulkReplayAnswer,
  ConversationStats,
  DeadLetter,
  FeedPage,
  ListedDeadLetter,
  NewSignal,
  ReplayAnswer,
  SignalPage,
  StoredSignal,
} from "./types.ts"

export interface SendOptions extends CallOptions {
  /**
   * Names the request: the service stores the requests of one key once. Default: a new key each call, the
   * same for all its attempts.
   */
  idempotencyKey?: string | undefined
}

export interface BatchOptions extends SendOptions {
  /** Store every signal or none. Default: false; each signal succeeds or fails alone. */
  allOrNothing?: boolean | undefined
  /** Leave the successful signals out of `results`. */
  minimal?: boolean | undefined
  /**
   * A signal of the wrong shape fails alone, instead of the whole batch with a `ValidationError`. Has no
   * effect with `allOrNothing`.
   */
  lenient?: boolean | undefined
}

/** Calls a signal-ingest service. Every method resolves with the answer or rejects with a `SignalError`. */
export class SignalClient {
  readonly #transport: Transport

  /** @throws {RangeError | TypeError} an option is out of its range, or `url` is not an address */
  constructor(options: ClientOptions) {
    this.#transport = new Transport(options)
  }

  /**
   * Stores up to 10,000 signals in one transaction.
   *
   * Every attempt carries the same idempotency key, so a retry never stores a signal twice.
   *
   * @param signals in the order of the answer's `results`
   * @returns counts and one result for each signal; unless `allOrNothing` is set, failures are results, not
   *   errors
   * @throws {BatchRejectedError} `allOrNothing` is set and a signal broke a rule; nothing was stored
   * @throws {ValidationError} the batch has the wrong shape, or the key was used for another batch; nothing
   *   was stored
   * @throws {UnauthorizedError | RequestError} nothing was stored
   * @throws {DeadlineError | AbortedError} the batch may be stored; sending it again under the same key is
   *   safe
   * @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
   *
   * @example
   * ```ts
   * const client = new SignalClient({ url: "https://signals.example.com", key: process.env.SIGNAL_INGEST_KEY
   * }) const { results } = await client.createBatch([{ context_window_id: "conv-123", raw_content: "Ready to
   * sync" }]) for (const { index, error } of results) if (error !== null) console.warn(index, error)
   * ```
   */
  async createBatch(signals: readonly NewSignal[], options: BatchOptions = {}): Promise<BatchAnswer> {
    const body = { signals, fail_on_error: options.allOrNothing ?? false }
    const preferences = [options.minimal && "return=minimal", options.lenient && "handling=lenient"].filter(
      Boolean,
    )
    return this.#send(
      "/api/signals/batch",
      body,
      options,
      preferences.length > 0 ? { Prefer: preferences.join(", ") } : {},
    )
  }

  /**
   * Stores one signal.
   *
   * @returns the stored signal; that of an earlier one with the same `dedupe_key`, if there is one
   * @throws {ValidationError} its shape or a value is wrong; nothing was stored
   * @throws {UnauthorizedError | RequestError | DeadlineError | AbortedError} as `createBatch`
   */
  async create(signal: NewSignal, options: SendOptions = {}): Promise<StoredSignal> {
    return this.#send("/api/signals", signal, options)
  }

  /** Yields every signal that matches `filter`, newest first; requests each page when it is needed. */
  async *list(
    filter: ListFilter = {},
    options: CallOptions = {},
  ): AsyncGenerator<StoredSignal, void, undefined> {
    for await (const { signals } of this.listPages(filter, options)) yield* signals
  }

  /**
   * Yields the pages of `list`. A reader that keeps `next_cursor` with what it made of a page, and later
   * begins with it as `cursor`, continues behind that page.
   */
  async *listPages(
    filter: ListFilter = {},
    options: CallOptions = {},
  ): AsyncGenerator<SignalPage, void, undefined> {
    const { pageSize = 1000, ...conditions } = filter
    yield* this.#pages<SignalPage>("/api/signals", { ...conditions, limit: pageSize }, options)
  }

  /**
   * Yields the signals in commit order, page by page, and waits for new ones until `signal` aborts. A reader
   * that saves `next_cursor` together with the results of the page, and starts from it again, sees every
   * signal once. While it follows, it retries transient errors without a limit.
   *
   * @throws {ValidationError} the cursor is unknown: the database was restored to an earlier time, or the
   *   cursor is another service's
   * @throws {UnauthorizedError | RequestError} as `createBatch`
   * @throws {DeadlineError} with `follow: false`
   *
   * @example
   * ```ts
   * for await (const { signals, next_cursor } of client.feed({ after: await loadCursor() })) {
   *   await handle(signals)
   *   await saveCursor(next_cursor)
   * }
   * ```
   */
  async *feed(options: FeedOptions = {}): AsyncGenerator<FeedPage, void, undefined> {
    yield* followFeed((query, call) => this.#transport.get("/api/signals/feed", query, call), options)
  }

  /**
   * Count, mean score and newest signal of each conversation since a time (default: a day ago), most signals
   * first, at most `limit` (1,000).
   */
  async stats(
    query: { since?: string | undefined; limit?: number | undefined } = {},
    options: CallOptions = {},
  ): Promise<ConversationStats[]> {
    const { stats } = (await this.#transport.get("/api/signals/stats", query, options)) as {
      stats: ConversationStats[]
    }
    return stats
  }

  /**
   * The ledger's record of a batch; undefined when the ledger has none under this id, so that nothing was
   * stored under it.
   */
  async batch(transactionId: string, options: CallOptions = {}): Promise<BatchRecord | undefined> {
    return this.#find<BatchRecord>(`/api/batches/${encodeURIComponent(transactionId)}`, options)
  }

  /**
   * Yields every dead letter in a state without its record, newest first; requests each page when it is
   * needed. Needs the scope `read`.
   */
  async *listDeadLetters(
    filter: DeadLetterFilter = {},
    options: CallOptions = {},
  ): AsyncGenerator<ListedDeadLetter, void, undefined> {
    const { state = "waiting", pageSize = 200 } = filter
    type Page = { dead_letters: ListedDeadLetter[]; next_cursor: string | null }
    for await (const page of this.#pages<Page>("/api/dead-letters", { state, limit: pageSize }, options))
      yield* page.dead_letters
  }

  /** A dead letter with its record; undefined when none has this id. Needs the scope `read`. */
  async deadLetter(id: number, options: CallOptions = {}): Promise<DeadLetter | undefined> {
    return this.#find<DeadLetter>(`/api/dead-letters/${id}`, options)
  }

  /**
   * Reads a dead letter's record again, as the service does today, and stores it: once, however often it is
   * replayed. Needs the scopes `read` and `ingest`.
   *
   * @returns whether it was replayed; `reason` says why the record still cannot become a signal
   * @throws {RequestError} no dead letter has this id
   */
  async replayDeadLetter(id: number, options: CallOptions = {}): Promise<ReplayAnswer> {
    return (await this.#transport.post(`/api/dead-letters/${id}/replay`, {}, options)) as ReplayAnswer
  }

  /**
   * Replays many dead letters in one request, oldest first. Each is stored once, however often it is
   * replayed. Needs the scopes `read` and `ingest`.
   *
   * @returns counts, and the reasons of the dead letters that were not replayed. When an answer was lost, the
   *   counts are those of the
   * retry: without `ids`, they do not include the dead letters that the lost attempt replayed.
   * @throws {ValidationError} an option is out of its range, or `ids` is empty; nothing was replayed
   * @throws {UnauthorizedError | RequestError} nothing was replayed
   * @throws {DeadlineError | AbortedError} some may be replayed; calling it again is safe
   *
   * @example
   * ```ts
   * let cursor: string | null | undefined
   * do {
   *   const answer = await client.replayDeadLetters({ source: "kafka", cursor })
   *   for (const { id, reason } of answer.failures) console.warn(id, reason)
   *   cursor = answer.next_cursor
   * } while (cursor !== null)
   * ```
   */
  async replayDeadLetters(choice: ReplayChoice = {}, options: CallOptions = {}): Promise<BulkReplayAnswer> {
    const query = { ...choice, ids: choice.ids?.join(",") }
    return (await this.#transport.post("/api/dead-letters/replay", {}, options, {
      query,
    })) as BulkReplayAnswer
  }

  /**
   * Discards a dead letter: the service keeps it, and lists it as `discarded`. Needs the scopes `read` and
   * `ingest`.
   *
   * @returns the dead letter; one that was replayed stays `replayed`
   * @throws {RequestError} no dead letter has this id
   */
  async discardDeadLetter(id: number, options: CallOptions = {}): Promise<DeadLetter> {
    return (await this.#transport.delete(`/api/dead-letters/${id}`, options)) as DeadLetter
  }

  /**
   * Erases the signals of a user, an agent or a conversation, or signals by their ids, with what else the
   * service keeps about them. Needs the scope `admin`. The work goes on after this resolves: ask
   * `erasure(id)` until its state is `done`.
   *
   * @throws {ValidationError} not exactly one subject is given, or it is out of its bounds; nothing was
   *   erased
   * @throws {UnauthorizedError | RequestError | DeadlineError | AbortedError} as `createBatch`
   */
  async erase(erasure: NewErasure, options: SendOptions = {}): Promise<Erasure> {
    return this.#send("/api/erasures", erasure, options)
  }

  /**
   * The state of an erasure, and what it removed; undefined when none has this id. Needs the scope `admin`.
   */
  async erasure(id: string, options: CallOptions = {}): Promise<Erasure | undefined> {
    return this.#find<Erasure>(`/api/erasures/${encodeURIComponent(id)}`, options)
  }

  async #send<Answer>(
    path: string,
    body: unknown,
    options: SendOptions,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const idempotencyKey = options.idempotencyKey ?? crypto.randomUUID()
    return (await this.#transport.post(path, body, options, {
      headers: { ...headers, "Idempotency-Key": idempotencyKey },
    })) as Answer
  }

  /** Gets a path; undefined for a 404. */
  async #find<Found>(path: string, options: CallOptions): Promise<Found | undefined> {
    try {
      return (await this.#transport.get(path, {}, options)) as Found
    } catch (error) {
      if (error instanceof RequestError && error.status === 404) return undefined
      throw error
    }
  }

  async *#pages<Page extends { next_cursor: string | null }>(
    path: string,
    query: Record<string, string | number | null | undefined>,
    options: CallOptions,
  ): AsyncGenerator<Page, void, undefined> {
    let { cursor = null } = query
    do {
      const page = (await this.#transport.get(path, { ...query, cursor }, options)) as Page
      yield page
      cursor = page.next_cursor
    } while (cursor !== null)
  }
}
