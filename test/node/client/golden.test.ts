import { readFileSync } from "node:fs"
import { afterEach, describe, expect, it, vi } from "vitest"
import { encodeSignal } from "../../../src/client/base/encode.ts"
import { callerIdOf, keyOfHalf } from "../../../src/client/base/keys.ts"
import { isRefusal, pauseMs } from "../../../src/client/batching/retry.ts"
import { deliverEach } from "../../../src/client/deliver.ts"
import { addressOf, decideRedirect, readAddress } from "../../../src/client/http/address.ts"
import { readRetryAfter } from "../../../src/client/http/answer.ts"
import { backoffMs } from "../../../src/client/http/request.ts"
import {
  AbortedError,
  BatchRejectedError,
  DeadlineError,
  InvalidSignalError,
  type ListFilter,
  type NewScore,
  type NewSignal,
  RequestError,
  SignalClient,
  type SignalError,
  type SignalResult,
  UnauthorizedError,
  UnavailableError,
  ValidationError,
} from "../../../src/client/index.ts"
import { failureOf } from "./failure-of.ts"

/** `test/golden/README.md` explains the cases. The Python library reads the same files. */
interface Case {
  name: string
  [more: string]: unknown
}
const FOLDER = new URL("../../golden/", import.meta.url)
const exactly = (_: string, value: unknown, { source = "" }: { source?: string } = {}) =>
  typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(source) ? BigInt(source) : value
// An own property, which `toEqual` compares with what a library has read from the file.
const read = <Lists extends string>(file: string) =>
  JSON.parse(readFileSync(new URL(file, FOLDER), "utf8"), exactly) as Record<Lists, Case[]>
const each = (cases: readonly Case[]) => cases.map((one) => [one.name, one] as const)

/** A client whose every call gets this answer. */
const answered = (respond: (url: URL, init: RequestInit) => Response, more: object = {}) =>
  new SignalClient({
    url: "http://golden.test",
    compress: false,
    fetch: async (input, init) => respond(new URL(String(input)), init ?? {}),
    ...more,
  })
const responseOf = ({ status = 200, headers, json, text }: Partial<Record<string, unknown>>) =>
  new Response(status === 204 ? null : json === undefined ? String(text) : JSON.stringify(json), {
    status: status as number,
    headers: (headers ?? {}) as Record<string, string>,
  })
/** Ends a call before its first retry, with the error that it would retry for. */
function firstRetry() {
  const stop = new AbortController()
  const reasons: SignalError[] = []
  return {
    reasons,
    options: {
      signal: stop.signal,
      onRetry: ({ reason }: { reason: SignalError }) => {
        reasons.push(reason)
        stop.abort()
      },
    },
  }
}

afterEach(() => void vi.restoreAllMocks())

describe("encoding.json", () => {
  const { signals, batches, scores, refused } = read<"signals" | "batches" | "scores" | "refused">(
    "encoding.json",
  )

  it.each(each(signals))("signals: %s", (_, { signal, text }) => expect(encodeSignal(signal)).toBe(text))

  it.each(each(batches))("batches: %s", async (_, { signals, all_or_nothing, text }) => {
    let sent: unknown
    const client = answered((_, { body }) => {
      sent = body
      return responseOf({ status: 404, text: "" })
    })
    await failureOf(client.createBatch(signals as NewSignal[], { allOrNothing: all_or_nothing as boolean }))
    expect(sent).toBe(text)
  })

  it.each(each(scores))("scores: %s", async (_, { scores, all_or_nothing, text }) => {
    const sent: unknown[] = []
    const client = answered((url, { body }) => {
      sent.push(url.pathname, body)
      return responseOf({ status: 404, text: "" })
    })
    await failureOf(client.createScores(scores as NewScore[], { allOrNothing: all_or_nothing as boolean }))
    expect(sent).toEqual(["/api/scores", text])
  })

  it.each(each(refused))("refused: %s", async (_, { signal, path, value, failure_code, field, place }) => {
    const spoiled = spoil(structuredClone(signal), path as (string | number)[] | undefined, value as string)
    const client = answered(() => {
      throw new Error("it was sent")
    })
    for (const call of [client.create(spoiled as NewSignal), client.createBatch([spoiled as NewSignal])]) {
      const error = await failureOf(call)
      expect(error).toBeInstanceOf(InvalidSignalError)
      expect(error).toMatchObject({ failureCode: failure_code, field })
      expect(error.message).toContain(place)
    }
  })
})

const nested = (levels: number): unknown => (levels === 0 ? 1 : [nested(levels - 1)])
const UNSENDABLE: Record<string, (holder: object) => unknown> = {
  nan: () => Number.NaN,
  infinity: () => Number.POSITIVE_INFINITY,
  "-infinity": () => Number.NEGATIVE_INFINITY,
  cycle: (holder) => holder,
  "lone surrogate": () => "\ud800",
  deep: () => nested(101),
  set: () => new Set([1]),
  function: () => () => 1,
}

function spoil(signal: unknown, path: (string | number)[] | undefined, value: string): unknown {
  const [last, ...way] = [...(path ?? [])].reverse()
  if (last === undefined) return signal
  type Holder = Record<string | number, unknown>
  const holder = way.reverse().reduce((inside, step) => inside[step] as Holder, signal as Holder)
  Object.assign(holder, { [last]: UNSENDABLE[value]?.(holder) })
  return signal
}

describe("keys.json", () => {
  const { halves, batches, callers, idempotency_keys } = read<
    "halves" | "batches" | "callers" | "idempotency_keys"
  >("keys.json")

  it.each(each(halves))("halves: %s", async (_, { key, half, derived }) =>
    expect(await keyOfHalf(key as string, half as "first half")).toBe(derived),
  )

  it.each(each(batches))("batches: %s", async (_, { key, count, limit, requests, too_large }) => {
    const seen: unknown[] = []
    const client = answered((_, { headers, body }) => {
      const { signals } = JSON.parse(String(body)) as { signals: { raw_content: number }[] }
      const places = signals.map(({ raw_content }) => raw_content)
      const from = places[0] ?? 0
      seen.push({ key: new Headers(headers).get("Idempotency-Key"), from, to: from + places.length })
      if (places.length > (limit as number)) return responseOf({ status: 413, text: "too large" })
      const total = places.length
      const answer = { total_count: total, successful_count: total, failed_count: 0, results: [] }
      return responseOf({ json: answer })
    })
    const signals = Array.from({ length: count as number }, (_, index) => ({ raw_content: index }))
    const failures = await deliverEach(client, signals as never, { idempotencyKey: key as string })
    expect(seen).toEqual(requests)
    expect(failures.map(({ index, code }) => [index, code])).toEqual(
      (too_large as number[]).map((index) => [index, "too_large"]),
    )
  })

  it.each(each(callers))("callers: %s", async (_, { url, key, id }) => {
    const client = new SignalClient({ url: url as string, ...(key !== null && { key: key as string }) })
    expect(await client.callerId()).toBe(id)
    expect(await callerIdOf(String(url).replace(/\/$/, ""), (key as string | null) ?? "")).toBe(id)
  })

  it.each(each(idempotency_keys))("idempotency_keys: %s", async (_, { key, accepted }) => {
    const sent: unknown[] = []
    const client = answered((_, { headers }) => {
      sent.push(new Headers(headers).get("Idempotency-Key"))
      return responseOf({ status: 404, text: "" })
    })
    await failureOf(client.createBatch([], { idempotencyKey: key as string }))
    expect(sent).toEqual(accepted ? [key] : [])
  })
})

describe("answers.json", () => {
  const { requests: CALLS } = read<"requests">("calls.json")
  const { decisions, foreign, not_found } = read<"decisions" | "foreign" | "not_found">("answers.json")

  it.each(each(decisions))("decisions: %s", async (_, expected) => {
    const { reasons, options } = firstRetry()
    const signals = Array.from({ length: expected.count as number }, () => ({ context_window_id: "c" }))
    const client = answered(() => responseOf(expected))
    const outcome = await client.createBatch(signals, options).then(
      ({ results }) => ({ decision: "done", failures: results.flatMap(failureIn) }),
      async (error: SignalError) => {
        const final = error instanceof AbortedError ? reasons[0] : error
        return { decision: reasons.length > 0 ? "retry" : "fail", ...told(final) }
      },
    )
    const { decision, error, stored, code, failures, retry_after_ms, transaction_id, message } = expected
    const wanted = { decision, error, stored, code, failures, retry_after_ms, transaction_id }
    expect(outcome).toMatchObject(
      Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== undefined)),
    )
    if (message !== undefined)
      expect(outcome).toHaveProperty("message", expect.stringContaining(message as string))
  })

  it.each(each(foreign))("foreign: %s", async (_, { call, json, accepted }) => {
    const { reasons, options } = firstRetry()
    const client = answered(() => responseOf({ json }))
    const given = CALLS.find((one) => one.call === call)?.arguments as unknown[]
    const outcome = await callOf(client, call as string, given, options).then(
      () => true,
      () => false,
    )
    expect(outcome).toBe(accepted)
    if (!accepted) expect(reasons).toMatchObject([{ name: "UnavailableError", status: 200 }])
  })

  it.each(each(not_found))("not_found: %s", async (_, { result, ...answer }) => {
    const client = answered(() => responseOf({ ...answer, status: 404 }))
    const outcome = await client.batch("t").then(
      (found) => String(found),
      (error: SignalError) => error.name,
    )
    expect(outcome).toBe(result)
  })
})

const failureIn = ({ index, error, code, field, retryable }: SignalResult) =>
  error === null ? [] : [{ index, error, code, field, retryable }]

/** An error in the words of the cases. */
const told = (error: SignalError | undefined) => ({
  error: error?.name,
  stored: error instanceof UnavailableError ? "in doubt" : "nothing",
  code: error?.code,
  message: error?.message,
  retry_after_ms: (error as UnavailableError | undefined)?.retryAfterMs,
  transaction_id: (error as UnavailableError | undefined)?.transactionId,
})

describe("calls.json", () => {
  const { requests } = read<"requests">("calls.json")

  it.each(each(requests))("requests: %s", async (_, { call, arguments: given, request }) => {
    const sent: unknown[] = []
    const client = answered((url, { method, body }) => {
      url.searchParams.sort()
      sent.push({ method, path: url.pathname, query: url.searchParams.toString(), body: body ?? null })
      return responseOf({ status: 404, text: "" })
    })
    await expect(callOf(client, call as string, given as unknown[])).rejects.toThrow(RequestError)
    expect(sent).toEqual([request])
  })

  it("has every call of the client", () => {
    const client = new SignalClient({ url: "http://golden.test" })
    const methods = Object.entries({
      "": client,
      "keys.": client.keys,
      "subscriptions.": client.subscriptions,
    })
    const names = methods.flatMap(([prefix, part]) =>
      Object.entries(Object.getOwnPropertyDescriptors(Object.getPrototypeOf(part)))
        .filter(([name, { value }]) => typeof value === "function" && name !== "constructor")
        .map(([name]) => prefix + name),
    )
    expect(new Set(names)).toEqual(new Set([...ONLY_HERE, ...requests.map(({ call }) => call)]))
  })
})

/** Python has no texts of signals that are JSON already, and names a caller without a call. */
const ONLY_HERE = ["createBatchOf", "createScoresOf", "callerId"]
/** Calls whose last argument also holds the options. */
const WITH_OPTIONS = ["feed", "subscriptions.replaceSecret"]

/** Makes a call with the arguments of a case, or else of the first case of `calls.json` for it. */
async function callOf(client: SignalClient, name: string, given: unknown[], options: object = {}) {
  const way = name.split(".")
  const owner = (way.length > 1 ? Reflect.get(client, way[0] as string) : client) as object
  const method = Reflect.get(owner, way.at(-1) as string) as (...given: unknown[]) => unknown
  const sent = WITH_OPTIONS.includes(name)
    ? [...given.slice(0, -1), { ...(given.at(-1) as object), ...options }]
    : [...given, options]
  const result = await method.apply(owner, sent)
  if (!isGenerator(result)) return result
  const { done } = await result.next()
  // A feed that is aborted ends without an error.
  if (name === "feed" && done) throw new Error("it was aborted")
}

const isGenerator = (value: unknown): value is AsyncGenerator =>
  typeof value === "object" && value !== null && Symbol.asyncIterator in value

describe("waits.json", () => {
  const { retry_after, attempts, batches } = read<"retry_after" | "attempts" | "batches">("waits.json")

  it.each(each(retry_after))("retry_after: %s", (_, { header, now, retry_after_ms }) =>
    expect(readRetryAfter(header as string, Date.parse(now as string)) ?? null).toBe(retry_after_ms),
  )

  /** The bounds of a wait: jitter is the only part that is left to chance. */
  const boundsOf = (wait: () => number) =>
    [0, 1].map((luck) => {
      vi.spyOn(Math, "random").mockReturnValue(luck)
      return wait()
    })

  it.each(each(attempts))("attempts: %s", (_, { attempt, retry_after_ms, min, max }) =>
    expect(boundsOf(() => backoffMs(attempt as number, (retry_after_ms as number | null) ?? 0))).toEqual([
      min,
      max,
    ]),
  )

  it.each(each(batches))("batches: %s", (_, { attempt, retry_after_ms, min, max }) => {
    const last = new UnavailableError("", { retryAfterMs: (retry_after_ms as number | null) ?? undefined })
    expect(boundsOf(() => pauseMs(attempt as number, new DeadlineError("", last)))).toEqual([min, max])
  })
})

describe("addresses.json", () => {
  const { paths, filters, refused, redirects } = read<"paths" | "filters" | "refused" | "redirects">(
    "addresses.json",
  )

  it.each(each(paths))("paths: %s", (_, { url, path, query, address }) =>
    expect(addressOf(readAddress(url as string), path as string, query as never).href).toBe(address),
  )

  it.each(each(filters))("filters: %s", async (_, { filter, query, refused }) => {
    const sent: string[] = []
    const client = answered((url) => {
      url.searchParams.sort()
      sent.push(url.searchParams.toString())
      return responseOf({ json: { signals: [], next_cursor: null } })
    })
    const page = client.listPages(filter as ListFilter).next()
    if (refused === undefined) await page
    else
      await expect(page).rejects.toThrow(
        new TypeError(`${refused} must be a text, a finite number, a boolean or null.`),
      )
    expect(sent).toEqual(query === undefined ? [] : [query])
  })

  it.each(each(refused))("refused: %s", (_, { url = "http://golden.test", key, message, secret }) => {
    const open = () => new SignalClient({ url: url as string, key: key as string | undefined })
    expect(open).toThrow(message as string)
    if (secret !== undefined) expect(open).not.toThrow(secret as string)
  })

  it.each(each(redirects))("redirects: %s", (_, { url, status, location, follow, message }) => {
    const decision = decideRedirect(new URL(url as string), status as number, location as string | null)
    if (follow !== null) expect(decision).toEqual({ follow: new URL(follow as string) })
    else expect(decision).toEqual({ refusal: expect.stringContaining(message as string) })
  })
})

describe("processor.json", () => {
  const { outcomes } = read<"outcomes">("processor.json")
  const ERRORS: Record<string, (context: object) => SignalError> = {
    DeadlineError: () => new DeadlineError("", new UnavailableError("")),
    UnauthorizedError: (context) => new UnauthorizedError("", context),
    RequestError: (context) => new RequestError("", context),
    ValidationError: (context) => new ValidationError([], context),
    BatchRejectedError: (context) => new BatchRejectedError("", [], context),
  }

  it.each(each(outcomes))("outcomes: %s", (_, { error, status, code, outcome }) => {
    const made = ERRORS[error as string]?.({ status: status ?? undefined, code: code ?? undefined })
    expect(isRefusal(made) ? "refused" : "again").toBe(outcome)
  })
})
