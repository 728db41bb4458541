import * as answers from "./api/answers.ts"
import {
  type AuditPage,
  type AuditQuery,
  type DeadLetterFilter,
  type Erasure,
  type ListFilter,
  type NewErasure,
  queryOf,
  type ReplayChoice,
} from "./api/queries.ts"
import type {
  BatchAnswer,
  BatchRecord,
  BulkReplayAnswer,
  ConversationStats,
  DeadLetter,
  FeedPage,
  ListedDeadLetter,
  NewScore,
  NewSignal,
  ReplayAnswer,
  ScoresAnswer,
  SignalPage,
  SignalWithScores,
  StoredSignal,
} from "./api/types.ts"
import { encodeJson, encodeSignal } from "./base/encode.ts"
import { type FeedOptions, followFeed } from "./feed.ts"
import type { Query } from "./http/address.ts"
import type { BatchOptions, CallOptions, SendOptions } from "./http/request.ts"
import { type ClientOptions, type Exchange, Transport } from "./http/transport.ts"
import { KeysClient } from "./keys.ts"
import { send, sendBatch } from "./send.ts"
import { SubscriptionsClient } from "./subscriptions.ts"

const encodeScores = (scores: readonly NewScore[]) =>
  scores.map((score, index) => encodeJson(score, `scores[${index}]`))

/**
 * Calls a signal-ingest service. Every method resolves with the service's answer or rejects with a
 * `SignalError`; an option out of its range is a `RangeError` or a `TypeError`, and then nothing was sent.
 */
export class SignalClient {
  readonly #transport: Transport
  /** The API keys that are made while the service runs. */
  readonly keys: KeysClient
  /** Who is called about new signals. */
  readonly subscriptions: SubscriptionsClient

  /** @throws {RangeError | TypeError} an option is out of its range, or `url` is not an address */
  constructor(options: ClientOptions) {
    this.#transport = new Transport(options)
    this.keys = new KeysClient(this.#transport)
    this.subscriptions = new SubscriptionsClient(this.#transport)
  }

  /** How long a call may take when it has no `deadlineMs` of its own. */
  get deadlineMs(): number {
    return this.#transport.deadlineMs
  }

  /**
   * Stores up to 10,000 signals in one transaction. Every attempt carries the same idempotency key, so a
   * retry never stores a signal twice.
   *
   * @param signals in the order of the answer's `results`
   * @returns counts and one result for each signal; unless `allOrNothing` is set, failures are results, not
   *   errors
   * @throws {InvalidSignalError} a value of a signal cannot be written as JSON; nothing was sent
   * @throws {BatchRejectedError} `allOrNothing` is set and a signal broke a rule; nothing was stored
   * @throws {ValidationError} the batch has the wrong shape, or the key was used for another batch; nothing
   *   was stored
   * @throws {UnauthorizedError | RequestError} nothing was stored
   * @throws {DeadlineError | AbortedError} the batch may be stored; sending it again under the same key is
   *   safe
   * @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
   * @example
   * ```ts
   * const key = process.env.SIGNAL_INGEST_KEY
   * const client = new SignalClient({ url: "https://signals.example.com", key })
   * const { results } = await client.createBatch([{ context_window_id: "conv-123", raw_content: "Hello" }])
   * for (const { index, error } of results) if (error !== null) console.warn(index, error)
   * ```
   */
  async createBatch(signals: readonly NewSignal[], options: BatchOptions = {}): Promise<BatchAnswer> {
    return this.createBatchOf(
      signals.map((signal, index) => encodeSignal(signal, `signals[${index}]`)),
      options,
    )
  }

  /**
   * As `createBatch`, for signals that are JSON texts already: they are sent as they are, every digit and
   * every field in its place.
   *
   * @param texts one JSON object each
   * @throws {SignalError} as `createBatch`
   */
  async createBatchOf(texts: readonly string[], options: BatchOptions = {}): Promise<BatchAnswer> {
    const isExpected = answers.isBatchAnswer(texts.length)
    return sendBatch(
      this.#transport,
      { path: "/api/signals/batch", field: "signals", isExpected },
      texts,
      options,
    )
  }

  /**
   * Stores one signal.
   *
   * @returns the stored signal; that of an earlier one with the same `dedupe_key`, if there is one
   * @throws {InvalidSignalError} a value cannot be written as JSON; nothing was sent
   * @throws {ValidationError} its shape or a value is wrong; nothing was stored
   * @throws {UnauthorizedError | RequestError | DeadlineError | AbortedError} as `createBatch`
   */
  async create(signal: NewSignal, options: SendOptions = {}): Promise<StoredSignal> {
    const exchange = { isExpected: answers.isStoredSignal }
    return send(this.#transport, "/api/signals", encodeSignal(signal), exchange, options)
  }

  /**
   * Stores up to 10,000 scores of signals that are stored already. The newest `scored_at` counts, whatever
   * the order of arrival; the service keeps each score as history.
   *
   * @param scores in the order of the answer's `results`
   * @returns as `createBatch`; a score by a `dedupe_key` whose signal has not come has `waiting`, and one of
   *   an unknown id fails with `retryable`
   * @throws {SignalError} as `createBatch`
   *
   * @example
   * ```ts
   * await client.createScores([{ dedupe_key: "msg-1", signal_score: 0.9, scorer: "judge-2" }])
   * ```
   */
  async createScores(scores: readonly NewScore[], options: BatchOptions = {}): Promise<ScoresAnswer> {
    return this.createScoresOf(encodeScores(scores), options)
  }

  /** As `createScores`, for scores that are JSON texts already. */
  async createScoresOf(texts: readonly string[], options: BatchOptions = {}): Promise<ScoresAnswer> {
    const isExpected = answers.isScoresAnswer(texts.length)
    return sendBatch(this.#transport, { path: "/api/scores", field: "scores", isExpected }, texts, options)
  }

  /**
   * As `createScores`, but the service answers as soon as the scores are durable, and stores them later: also
   * while its database is away. A score that then cannot be stored becomes a dead letter.
   *
   * @returns the record of the batch, whose outcome `batch` reads later; or the answer of `createScores` from
   *   a service that stored it at once
   * @throws {SignalError} as `createBatch`
   */
  async queueScores(
    scores: readonly NewScore[],
    options: BatchOptions = {},
  ): Promise<BatchRecord | ScoresAnswer> {
    const isExpected = answers.isScoresAnswer(scores.length)
    const request = { path: "/api/scores", field: "scores", isExpected, isQueued: true } as const
    return sendBatch(this.#transport, request, encodeScores(scores), options)
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
    const exchange = { query: queryOf(filter), isExpected: answers.isSignalPage }
    yield* this.#pages<SignalPage>("/api/signals", exchange, options)
  }

  /** A signal with its scores; undefined when none has this id. */
  async signal(id: number, options: CallOptions = {}): Promise<SignalWithScores | undefined> {
    return this.#transport.find<SignalWithScores>(`/api/signals/${id}`, answers.isStoredSignal, options)
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
    const read = (query: Query, call: CallOptions) =>
      this.#transport.get("/api/signals/feed", { query, isExpected: answers.isFeedPage }, call)
    yield* followFeed(read, { ...options, deadlineMs: options.deadlineMs ?? this.#transport.deadlineMs })
  }

  /**
   * Count, mean score and newest signal of each conversation since a time (default: a day ago), most signals
   * first, at most `limit` (1,000).
   */
  async stats(
    query: { since?: string | undefined; limit?: number | undefined } = {},
    options: CallOptions = {},
  ): Promise<ConversationStats[]> {
    const exchange = { query, isExpected: answers.isStats }
    const answer = await this.#transport.get("/api/signals/stats", exchange, options)
    return (answer as { stats: ConversationStats[] }).stats
  }

  /**
   * The ledger's record of a batch; undefined when the ledger has none under this id, so that nothing was
   * stored under it.
   */
  async batch(transactionId: string, options: CallOptions = {}): Promise<BatchRecord | undefined> {
    const path = `/api/batches/${encodeURIComponent(transactionId)}`
    return this.#transport.find<BatchRecord>(path, answers.isBatchRecord, options)
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
    const exchange = { query: { state, limit: pageSize }, isExpected: answers.isDeadLetterPage }
    for await (const page of this.#pages<Page>("/api/dead-letters", exchange, options))
      yield* page.dead_letters
  }

  /** A dead letter with its record; undefined when none has this id. Needs the scope `read`. */
  async deadLetter(id: number, options: CallOptions = {}): Promise<DeadLetter | undefined> {
    return this.#transport.find<DeadLetter>(`/api/dead-letters/${id}`, answers.isDeadLetter, options)
  }

  /**
   * Reads a dead letter's record again, as the service does today, and stores it: once, however often it is
   * replayed. Needs the scopes `read` and `ingest`.
   *
   * @returns whether it was replayed; `reason` says why the record still cannot become a signal
   * @throws {RequestError} no dead letter has this id
   */
  async replayDeadLetter(id: number, options: CallOptions = {}): Promise<ReplayAnswer> {
    const path = `/api/dead-letters/${id}/replay`
    return (await this.#transport.post(path, "{}", { isExpected: answers.isReplay }, options)) as ReplayAnswer
  }

  /**
   * Replays many dead letters in one request, oldest first. Each is stored once, however often it is
   * replayed. Needs the scopes `read` and `ingest`.
   *
   * @returns counts, and the reasons of the dead letters that were not replayed. When an answer was lost, the
   *   counts are those of the retry: without `ids`, they do not include the dead letters that the lost
   *   attempt replayed.
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
    const exchange = { query: { ...choice, ids: choice.ids?.join(",") }, isExpected: answers.isBulkReplay }
    const answer = await this.#transport.post("/api/dead-letters/replay", "{}", exchange, options)
    return answer as BulkReplayAnswer
  }

  /**
   * Discards a dead letter: the service keeps it, and lists it as `discarded`. Needs the scopes `read` and
   * `ingest`.
   *
   * @returns the dead letter; one that was replayed stays `replayed`
   * @throws {RequestError} no dead letter has this id
   */
  async discardDeadLetter(id: number, options: CallOptions = {}): Promise<DeadLetter> {
    const exchange = { isExpected: answers.isDeadLetter }
    return (await this.#transport.delete(`/api/dead-letters/${id}`, exchange, options)) as DeadLetter
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
    const exchange = { isExpected: answers.isErasure }
    return send(this.#transport, "/api/erasures", encodeJson(erasure, "erasure"), exchange, options)
  }

  /**
   * The state of an erasure, and what it removed; undefined when none has this id. Needs the scope `admin`.
   */
  async erasure(id: string, options: CallOptions = {}): Promise<Erasure | undefined> {
    return this.#transport.find<Erasure>(
      `/api/erasures/${encodeURIComponent(id)}`,
      answers.isErasure,
      options,
    )
  }

  /** Yields the pages of an audit: the ledger compared with the signals. Needs the scope `admin`. */
  audit(query: AuditQuery = {}, options: CallOptions = {}): AsyncGenerator<AuditPage, void, undefined> {
    return this.#pages<AuditPage>(
      "/api/audit",
      { query: { ...query }, isExpected: answers.isAuditPage },
      options,
    )
  }

  /**
   * Names the caller and the service, without showing the key: idempotency keys belong to a caller. Needs a
   * secure context, as `crypto.subtle` does.
   */
  callerId(): Promise<string> {
    return this.#transport.callerId()
  }

  async *#pages<Page extends { next_cursor: string | null }>(
    path: string,
    { query = {}, isExpected }: Exchange,
    options: CallOptions,
  ): AsyncGenerator<Page, void, undefined> {
    let { cursor = null } = query
    do {
      const exchange = { query: { ...query, cursor }, isExpected }
      const page = (await this.#transport.get(path, exchange, options)) as Page
      yield page
      cursor = page.next_cursor
    } while (cursor !== null)
  }
}
