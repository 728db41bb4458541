import { createHash } from "node:crypto"
import { beforeAll, beforeEach, describe, expect, it } from "vitest"
import {
  AbortedError,
  BatchRejectedError,
  type DeadLetterFilter,
  DeadlineError,
  type ListedDeadLetter,
  RateLimitedError,
  RequestError,
  SignalClient,
  SignalError,
  UnauthorizedError,
  UnavailableError,
  ValidationError,
} from "../../../src/client/index.ts"
import { useEmptyTables, useProxy, useRig } from "../../setup/hooks/rig.ts"
import { failureOf } from "./failure-of.ts"

const KEY = "the-client's-key"
const API_KEYS = JSON.stringify([
  { name: "client", sha256: createHash("sha256").update(KEY).digest("hex"), scopes: ["read", "ingest"] },
])

const rig = useRig({ OPEN_ACCESS: "false", API_KEYS, MAX_SIGNALS: "1000" })
const proxy = useProxy(rig)
useEmptyTables(rig)
let client: SignalClient

beforeAll(() => {
  client = new SignalClient({ url: proxy.address, key: KEY })
})

const signal = (index: number) => ({ context_window_id: "conv-client", raw_content: String(index) })
const signals = (count: number) => Array.from({ length: count }, (_, index) => signal(index))
const rows = async () =>
  (await rig.query<{ count: number }>("select count(*)::int4 as count from signals"))[0]?.count

describe("the pages of a list", () => {
  it("continue after a cursor, and keep every digit with a custom reader", async () => {
    await client.createBatch(signals(25).map((one) => ({ ...one, payload: { n: 12345678901234567890n } })))
    const exact = new SignalClient({
      url: proxy.address,
      key: KEY,
      parse: (text) => JSON.parse(text.replaceAll(/\b\d{20}\b/g, '"$&"')),
    })
    const [first] = await Array.fromAsync(exact.listPages({ pageSize: 10 }))
    expect([first?.signals.length, first?.signals[0]?.payload]).toEqual([10, { n: "12345678901234567890" }])
    const rest = await Array.fromAsync(client.listPages({ pageSize: 10, cursor: first?.next_cursor }))
    expect(rest.map((page) => page.signals.length)).toEqual([10, 5])
    expect(new Set([first, ...rest].flatMap((page) => page?.signals.map(({ id }) => id))).size).toBe(25)
    expect(rest.at(-1)?.next_cursor).toBeNull()
  })
})

describe("SignalClient", () => {
  it("stores a batch and returns one result for each signal", async () => {
    const answer = await client.createBatch([signal(0), { ...signal(1), signal_score: 2 }, signal(2)])
    expect(answer).toMatchObject({ total_count: 3, successful_count: 2, failed_count: 1 })
    expect(answer.results.map(({ error }) => error)).toEqual([
      null,
      "signal_score must be between 0 and 1",
      null,
    ])
    expect(await client.batch(answer.transaction_id ?? "")).toMatchObject({
      state: "stored",
      caller: "client",
      successful_count: 2,
    })
    expect(await client.batch(crypto.randomUUID())).toBeUndefined()
  })

  it("stores one signal and returns the stored row", async () => {
    const stored = await client.create({
      ...signal(0),
      payload: { big: 12_345_678_901_234_567_890n, small: 7n },
    })
    expect(stored).toMatchObject({ ...signal(0), signal_score: 0.5 })
    const [row] = await rig.query<{ payload: string }>("select payload::text from signals")
    expect(row?.payload).toBe('{"big": 12345678901234567890, "small": 7}')
  })

  it("lists every signal over any number of pages, and requests a page only when it is needed", async () => {
    await client.createBatch(signals(25))
    const found: (string | null)[] = []
    for await (const { raw_content } of client.list({ context_window_id: "conv-client", pageSize: 10 }))
      found.push(raw_content)
    expect(found).toEqual(
      signals(25)
        .map(({ raw_content }) => raw_content)
        .reverse(),
    )
    proxy.seen.length = 0
    for await (const _ of client.list({ pageSize: 10 })) break
    expect(proxy.seen).toHaveLength(1)
  })

  it("returns the statistics of conversations", async () => {
    await client.createBatch(signals(3))
    expect(await client.stats()).toMatchObject([
      { context_window_id: "conv-client", signal_count: 3, avg_score: 0.5 },
    ])
  })
})

describe("headers of a call", () => {
  const TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

  it("are sent with every attempt, and the service continues the trace", async () => {
    proxy.mishaps.push({ kind: "refuse" })
    await client.createBatch(signals(1), { headers: { traceparent: TRACEPARENT, tracestate: "vendor=1" } })
    await client.stats({}, { headers: { traceparent: TRACEPARENT } })
    expect(proxy.seen.map(({ headers }) => headers.traceparent)).toEqual([
      TRACEPARENT,
      TRACEPARENT,
      TRACEPARENT,
    ])
    expect(proxy.seen[0]?.headers.tracestate).toBe("vendor=1")
    await expect
      .poll(
        () =>
          rig.service.log.filter((line) => line.includes('"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"'))
            .length,
      )
      .toBe(2)
  })

  it("do not replace those of the library", async () => {
    const headers = {
      "content-type": "text/plain",
      authorization: "Bearer another",
      "idempotency-key": "another",
    }
    await client.createBatch(signals(1), { headers, idempotencyKey: "the-call's-own" })
    expect(proxy.seen[0]?.headers).toMatchObject({
      "content-type": "application/json",
      authorization: `Bearer ${KEY}`,
      "idempotency-key": "the-call's-own",
    })
  })
})

describe("an error of the client", () => {
  it("lists every shape error", async () => {
    const error = (await failureOf(
      client.createBatch([{} as never, { ...signal(1), signal_score: "high" as never }]),
    )) as ValidationError
    expect(error).toBeInstanceOf(ValidationError)
    expect(error.errors.map(({ loc, type }) => [loc.join("."), type])).toEqual([
      ["body.signals.0.context_window_id", "missing"],
      ["body.signals.1.signal_score", "float_type"],
    ])
    expect(error.message).toBe("body.signals.0.context_window_id: Field required, and 1 more")
  })

  it("names the signal that made the service refuse an all-or-nothing batch", async () => {
    const error = (await failureOf(
      client.createBatch([signal(0), { ...signal(1), signal_score: 2 }], { allOrNothing: true }),
    )) as BatchRejectedError
    expect(error).toBeInstanceOf(BatchRejectedError)
    expect([error.index, error.errors]).toEqual([
      1,
      [
        {
          index: 1,
          error: "signal_score must be between 0 and 1",
          code: "out_of_range",
          field: "signal_score",
          retryable: false,
        },
      ],
    ])
    expect(await rows()).toBe(0)
  })

  it("has the code of the answer, and the field of a single signal", async () => {
    const one = await failureOf(client.create({ ...signal(0), signal_score: 2 }))
    expect(one).toMatchObject({ code: "invalid_request", field: "signal_score" })
    const many = await failureOf(client.createBatch([{} as never]))
    expect(many).toMatchObject({ code: "invalid_request", field: undefined })
    const whole = await failureOf(
      client.createBatch([{ ...signal(0), signal_score: 2 }], { allOrNothing: true }),
    )
    expect(whole).toMatchObject({
      code: "batch_rejected",
      failureCode: "out_of_range",
      field: "signal_score",
      retryable: false,
    })
    expect(await failureOf(new SignalClient({ url: proxy.address, key: "another" }).stats())).toMatchObject({
      code: "unauthorized",
    })
    proxy.mishaps.push({
      kind: "answer",
      status: 503,
      headers: { "Retry-After": "60" },
      body: '{"code":"overloaded"}',
    })
    expect(await failureOf(client.stats({}, { deadlineMs: 5000 }))).toMatchObject({
      name: "DeadlineError",
      code: "overloaded",
    })
    expect(
      await failureOf(new SignalClient({ url: "http://127.0.0.1:2", deadlineMs: 50 }).stats()),
    ).toMatchObject({
      code: undefined,
    })
  })

  it("differs for a wrong key, a limit and an unreachable service, of which only the last is retried", async () => {
    expect(await failureOf(new SignalClient({ url: proxy.address, key: "another" }).stats())).toBeInstanceOf(
      UnauthorizedError,
    )
    expect(await failureOf(client.createBatch(signals(1001)))).toMatchObject({
      constructor: RequestError,
      status: 413,
    })
    expect(proxy.seen).toHaveLength(2)
    const nowhere = new SignalClient({ url: "http://127.0.0.1:2", deadlineMs: 300 })
    const error = await failureOf(nowhere.stats())
    expect(error).toBeInstanceOf(DeadlineError)
    expect(error.cause).toBeInstanceOf(UnavailableError)
  })

  it("has the status and the request id of the answer, by which the service's log names the request", async () => {
    const refused = await failureOf(client.createBatch([{} as never]))
    expect([refused.status, refused.requestId]).toEqual([422, expect.stringMatching(/^[\w-]{8,}$/)])

    const answer = {
      kind: "answer" as const,
      status: 503,
      headers: { "Retry-After": "60", "X-Request-Id": "request-7" },
    }
    proxy.mishaps.push(answer)
    const late = await failureOf(client.stats({}, { deadlineMs: 5000 }))
    expect(late).toMatchObject({
      name: "DeadlineError",
      status: 503,
      requestId: "request-7",
      cause: { requestId: "request-7" },
    })

    const none = await failureOf(new SignalClient({ url: "http://127.0.0.1:2", deadlineMs: 50 }).stats())
    expect([none.status, none.requestId]).toEqual([undefined, undefined])
  })

  it.each([
    [
      422,
      { detail: [null, 5, {}, { loc: [{}], msg: "a" }, { loc: ["body", 0], msg: "wrong" }] },
      "body.0: wrong",
    ],
    [422, { detail: [null] }, "The request has the wrong shape."],
    [400, { detail: "refused", errors: [null, "a"] }, "refused"],
  ])(
    "is final, whatever a proxy sends instead of the service's errors: %i %j",
    async (status, body, message) => {
      const answering = new SignalClient({
        url: "http://proxy.test",
        fetch: async () => Response.json(body, { status }),
      })
      const error = await failureOf(answering.createBatch([signal(0)]))
      expect([error.status, error.message]).toEqual([status, message])
    },
  )

  it("is one of the named kinds, with the name of its kind", async () => {
    const error = await failureOf(client.createBatch([{} as never]))
    expect([error instanceof SignalError, error.name]).toEqual([true, "ValidationError"])
  })
})

describe("the bounds of a client", () => {
  it("stop reading an answer at maxAnswerBytes", async () => {
    await client.createBatch(signals(50))
    const small = new SignalClient({ url: proxy.address, key: KEY, maxAnswerBytes: 1000 })
    const stop = new AbortController()
    const reasons: SignalError[] = []
    const onRetry = ({ reason }: { reason: SignalError }) => {
      reasons.push(reason)
      stop.abort()
    }
    await failureOf(small.list({ pageSize: 50 }, { signal: stop.signal, onRetry }).next())
    expect(reasons).toMatchObject([
      {
        name: "UnavailableError",
        status: 200,
        message: "the answer is larger than 1000 bytes (maxAnswerBytes)",
      },
    ])
  })

  it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31])(
    "refuses a deadline of %d ms",
    async (deadlineMs) => {
      expect(() => new SignalClient({ url: proxy.address, deadlineMs })).toThrow(
        "deadlineMs must be a whole number from 1",
      )
      await expect(client.stats({}, { deadlineMs })).rejects.toThrow(RangeError)
    },
  )
})

describe("dead letters", () => {
  /** Stored by the service itself: records without a conversation. */
  const deliver = async (count: number) => {
    const records = Array.from({ length: count }, (_, index) => ({ raw_content: `dead letter ${index}` }))
    const response = await fetch(`${rig.service.address}/webhooks/kafka`, {
      method: "POST",
      headers: { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" },
      body: JSON.stringify(records),
    })
    expect(response.status).toBe(200)
  }
  const listed = async (filter: DeadLetterFilter = {}) => {
    const deadLetters: ListedDeadLetter[] = []
    for await (const deadLetter of client.listDeadLetters(filter)) deadLetters.push(deadLetter)
    return deadLetters
  }
  beforeEach(() => rig.query("truncate dead_letters"))

  it("are listed over any number of pages, read, replayed and discarded", async () => {
    await deliver(5)
    const deadLetters = await listed({ pageSize: 2 })
    expect(deadLetters.map(({ state }) => state)).toEqual(deadLetters.map(() => "waiting"))
    expect(deadLetters.map(({ id }) => id)).toEqual(
      [...deadLetters.map(({ id }) => id)].sort((a, b) => b - a),
    )
    expect(deadLetters).toHaveLength(5)

    const [first, second] = deadLetters.map(({ id }) => id)
    expect(await client.deadLetter(first ?? 0)).toMatchObject({
      id: first,
      source: "kafka",
      caller: "client",
    })
    expect(await client.deadLetter(999_999_999)).toBeUndefined()

    expect(await client.replayDeadLetter(first ?? 0)).toMatchObject({
      replayed: false,
      reason: expect.any(String),
    })
    expect(await client.discardDeadLetter(second ?? 0)).toMatchObject({ id: second, state: "discarded" })
    expect((await listed({ state: "discarded" })).map(({ id }) => id)).toEqual([second])
    expect(await listed()).toHaveLength(4)
    expect(await failureOf(client.discardDeadLetter(999_999_999))).toMatchObject({
      name: "RequestError",
      status: 404,
    })
  })

  it("are stored once, however often they are replayed", async () => {
    await deliver(1)
    // A repaired record: the same one, with its conversation.
    await rig.query(
      `update dead_letters set source = 'signal', record = '{"context_window_id": "conv-client"}'`,
    )
    const [deadLetter] = await listed()
    const replays = [
      await client.replayDeadLetter(deadLetter?.id ?? 0),
      await client.replayDeadLetter(deadLetter?.id ?? 0),
    ]
    expect(replays).toEqual(
      replays.map(() => ({ replayed: true, transaction_id: deadLetter?.replay_transaction_id })),
    )
    expect(await rows()).toBe(1)
  })
})

describe("replayDeadLetters", () => {
  /** Dead letters with ids from 1 on; every second one can become a signal now. */
  const fill = async (count: number) => {
    await rig.query("truncate dead_letters restart identity")
    await rig.query(
      `insert into dead_letters (transaction_id, index, source, caller, reason, code, record, replay_transaction_id)
       select gen_random_uuid(), 0, 'signal', 'client', 'no conversation', 'unreadable_record',
         case when n % 2 = 0 then '{"context_window_id": "conv-client"}' else '{"raw_content": "lost"}' end, gen_random_uuid()
       from generate_series(1, $1::int4) n`,
      [count],
    )
  }
  const states = async () =>
    (await rig.query<{ state: string }>("select state from dead_letters order by id")).map(
      ({ state }) => state,
    )

  it("replays every waiting dead letter, and names those that stay", async () => {
    await fill(4)
    const answer = await client.replayDeadLetters()
    expect(answer).toMatchObject({ replayed_count: 2, failed_count: 2, next_cursor: null })
    expect(answer.failures).toEqual([
      { id: 1, reason: expect.stringContaining("context_window_id") },
      { id: 3, reason: expect.stringContaining("context_window_id") },
    ])
    expect(await states()).toEqual(["waiting", "replayed", "waiting", "replayed"])
    expect(await rows()).toBe(2)
  })

  it("replays up to a limit, and continues after the cursor", async () => {
    await fill(6)
    const first = await client.replayDeadLetters({ limit: 4 })
    const second = await client.replayDeadLetters({ limit: 4, cursor: first.next_cursor })
    expect([first, second]).toMatchObject([
      { replayed_count: 2, failed_count: 2, next_cursor: "4" },
      { replayed_count: 1, failed_count: 1, next_cursor: null },
    ])
    expect(await rows()).toBe(3)
  })

  it("selects by state, source and ids", async () => {
    await fill(4)
    expect(await client.replayDeadLetters({ source: "kafka" })).toMatchObject({
      replayed_count: 0,
      failed_count: 0,
    })
    expect(await client.replayDeadLetters({ state: "discarded" })).toMatchObject({
      replayed_count: 0,
      failed_count: 0,
    })
    expect(await client.replayDeadLetters({ ids: [1, 4] })).toMatchObject({
      replayed_count: 1,
      failed_count: 1,
    })
    expect(await states()).toEqual(["waiting", "waiting", "waiting", "replayed"])
  })

  it("accepts 500 ids in a call, and refuses more, and an empty list", async () => {
    const ids = (count: number) => Array.from({ length: count }, (_, index) => 999_999_999_999_000 + index)
    expect(await client.replayDeadLetters({ ids: ids(500) })).toMatchObject({
      replayed_count: 0,
      failed_count: 0,
    })
    await fill(2)
    expect(await failureOf(client.replayDeadLetters({ ids: ids(501) }))).toBeInstanceOf(ValidationError)
    expect(await failureOf(client.replayDeadLetters({ ids: [] }))).toBeInstanceOf(ValidationError)
    expect(await states()).toEqual(["waiting", "waiting"])
  })

  it("stores each once when answers are lost", async () => {
    await fill(6)
    proxy.mishaps.push({ kind: "lose" }, { kind: "cut" })
    await client.replayDeadLetters()
    await client.replayDeadLetters({ ids: [2, 4, 6] })
    expect(await rows()).toBe(3)
  })
})

describe("a call whose request or answer is lost", () => {
  it.each([
    ["the request is lost", { kind: "refuse" as const }],
    ["the answer is lost", { kind: "lose" as const }],
    ["half of the answer is lost", { kind: "cut" as const }],
    ["a proxy answers 502", { kind: "answer" as const, status: 502, body: "<html>Bad gateway</html>" }],
    [
      "a proxy answers 200 with its own page",
      { kind: "answer" as const, status: 200, body: "<html>Hello</html>" },
    ],
    ["a proxy answers 408", { kind: "answer" as const, status: 408 }],
    [
      "the service answers 503",
      { kind: "answer" as const, status: 503, headers: { "Retry-After": "0" }, body: '{"detail": "later"}' },
    ],
    [
      "the service answers 429",
      { kind: "answer" as const, status: 429, headers: { "Retry-After": "0" }, body: '{"detail": "slower"}' },
    ],
  ])("is retried under the same key, and stores once: %s", async (_, mishap) => {
    proxy.mishaps.push(mishap, mishap)
    const answer = await client.createBatch(signals(20))
    expect(answer.successful_count).toBe(20)
    expect(await rows()).toBe(20)
    const keys = proxy.seen.map(({ headers }) => headers["idempotency-key"])
    expect([keys.length, new Set(keys).size]).toEqual([3, 1])
  })

  it("waits for Retry-After, and reports each wait to onRetry", async () => {
    proxy.mishaps.push({
      kind: "answer",
      status: 429,
      headers: { "Retry-After": "1" },
      body: '{"detail": "slower"}',
    })
    const waits: { attempt: number; waitMs: number; reason: SignalError }[] = []
    await client.create(signal(0), { onRetry: (retry) => waits.push(retry) })
    expect(waits).toMatchObject([
      { attempt: 1, reason: { name: "RateLimitedError", message: "slower", retryAfterMs: 1000 } },
    ])
    expect(waits[0]?.waitMs).toBeGreaterThanOrEqual(1000)
    expect(waits[0]?.reason).toBeInstanceOf(RateLimitedError)
  })

  it("ends at once when Retry-After is beyond its deadline", async () => {
    proxy.mishaps.push({
      kind: "answer",
      status: 503,
      headers: { "Retry-After": "3600" },
      body: '{"detail": "later"}',
    })
    const error = await failureOf(client.createBatch(signals(1), { deadlineMs: 5000 }))
    expect(error).toBeInstanceOf(DeadlineError)
    expect(error.message).toBe(
      "the service asks to wait 3600000 ms, longer than the deadline of 5000 ms; the last answer: later",
    )
  })

  it("can be aborted before, during and between attempts", async () => {
    const before = AbortSignal.abort("enough")
    expect(await failureOf(client.stats({}, { signal: before }))).toMatchObject({
      constructor: AbortedError,
      cause: "enough",
    })

    const during = new AbortController()
    const hanging = client.stats({}, { signal: during.signal })
    during.abort("enough")
    expect(await failureOf(hanging)).toBeInstanceOf(AbortedError)

    const between = new AbortController()
    proxy.mishaps.push({ kind: "answer", status: 503, headers: { "Retry-After": "20" } })
    const waiting = client.stats({}, { signal: between.signal, onRetry: () => between.abort("enough") })
    expect(await failureOf(waiting)).toMatchObject({ constructor: AbortedError, cause: "enough" })
  })

  it("stores each of many batches once while answers of the service and of the database are lost", async () => {
    proxy.mishaps.push(
      ...Array.from({ length: 30 }, (_, index) => ({
        kind: (["lose", "refuse", "cut"] as const)[index % 3] ?? "lose",
      })),
    )
    rig.endpoint.faults.loseAnswers = 10
    const sent = await Promise.all(Array.from({ length: 20 }, () => client.createBatch(signals(10))))
    expect(sent.map(({ successful_count }) => successful_count)).toEqual(sent.map(() => 10))
    expect(await rows()).toBe(200)
  })
})
