import fc from "fast-check"
import {
  expect,
  MAX_PARSE_MS,
  type Outcome,
  type Run,
  runSuite,
  type Suite,
  suite,
} from "../../setup/fuzz/check.ts"
import { Accounts } from "./accounts.ts"
import { CLIENT_SUITES, sqlText } from "./clients.ts"
import { type Answered, ask, reads, type Sent, writes } from "./service.ts"
import { sourceSuites, sqlSuite } from "./sources.ts"
import type { Stand } from "./stand.ts"

export interface FuzzOptions {
  /** Inputs of all suites together, about. */
  count: number
  seed: number
  /** One suite alone. */
  only?: string | undefined
  path?: string | undefined
}

export interface Report {
  name: string
  inputs: number
  seconds: number
  slowestMs: number
  failure?: { error: string; input: string; command: string }
}

/**
 * The shares of the inputs. A parser takes many a millisecond, a file or a request some milliseconds each.
 */
const SHARES: Record<string, number> = {
  ...{
    json: 12,
    ndjson: 6,
    batch: 12,
    erasure: 4,
    timestamp: 8,
    codecs: 4,
    utf8: 4,
    parameters: 6,
    cursors: 6,
    headers: 6,
  },
  ...{
    signatures: 2,
    slack: 8,
    kafka: 12,
    kafkaValues: 6,
    answers: 3,
    acceptEncoding: 3,
    spool: 3,
    kafkaMessages: 4,
    analytics: 6,
  },
  ...{
    jsonl: 0.5,
    csv: 0.5,
    slackFile: 0.5,
    slackFolder: 0.3,
    slackZip: 0.3,
    slackDatabase: 0.2,
    sql: 0.1,
    analyticsServer: 0.5,
  },
  ...{ writes: 6, reads: 3 },
}

/**
 * Values of a chunk, each with a seed of its own: a run of any length repeats at once from the seed of the
 * chunk that failed.
 */
const CHUNK = 2000
/** Requests are sent 1 to 16 at once, so that what fails shrinks to one. */
const MOST_AT_ONCE = 16
const MEAN_AT_ONCE = (1 + MOST_AT_ONCE) / 2
const CHUNK_OF_REQUESTS = 120

/** Requests at once on a busy machine; the service itself gives up after ten seconds. */
const MAX_REQUEST_MS = 12_000
/** A chunk of a parser that takes longer has met an input without end. */
const CHUNK_DEADLINE_MS = 300_000

interface Feed {
  /** Inputs of a value. Default: 1. */
  mean?: number
  chunk: number
  run(run: Run): Promise<Outcome>
  begin?(): Promise<void>
  /** After each chunk: throws when something does not hold of all of it. */
  settle?(): Promise<void>
}

/** Feeds every suite with its share of the inputs; a suite ends with its first failure. */
export async function fuzz(
  stand: Stand,
  options: FuzzOptions,
  onReport: (report: Report) => void = () => {},
): Promise<Report[]> {
  const feeds = await feedsOf(stand)
  const unknown = options.only !== undefined && !feeds.has(options.only)
  if (unknown)
    throw new Error(`There is no suite "${options.only}". The suites are: ${[...feeds.keys()].join(", ")}.`)
  const total = [...feeds.keys()].reduce((sum, name) => sum + shareOf(name), 0)
  const reports: Report[] = []
  for (const [name, feed] of feeds) {
    if (options.only !== undefined && options.only !== name) continue
    const share = options.only === undefined ? shareOf(name) / total : 1
    const values = Math.max(1, Math.round((options.count * share) / (feed.mean ?? 1)))
    const report = await feedAll(name, feed, { ...options, values })
    onReport(report)
    reports.push(report)
  }
  return reports
}

function shareOf(name: string): number {
  const share = SHARES[name]
  if (share === undefined) throw new Error(`SHARES does not list ${name}`)
  return share
}

async function feedAll(
  name: string,
  feed: Feed,
  { seed, values, path }: FuzzOptions & { values: number },
): Promise<Report> {
  const startedAt = performance.now()
  const report: Report = { name, inputs: 0, seconds: 0, slowestMs: 0 }
  for (let chunk = 0, left = values; left > 0 && !report.failure; chunk++, left -= feed.chunk) {
    const run: Run = {
      seed: (seed + Math.imul(chunk, 0x9e3779b1)) | 0,
      values: Math.min(left, feed.chunk),
      path,
    }
    const command = `npm run fuzz -- --only ${name} --count ${Math.round(run.values * (feed.mean ?? 1))} --seed ${run.seed}`
    try {
      await feed.begin?.()
      const { inputs, slowestMs, failure } = await feed.run(run)
      report.inputs += inputs
      report.slowestMs = Math.max(report.slowestMs, slowestMs)
      if (failure) report.failure = { ...failure, command: `${command} --path ${failure.path}` }
      else await feed.settle?.()
    } catch (error) {
      report.failure = {
        error: error instanceof Error ? error.message : String(error),
        input: "the whole chunk",
        command,
      }
    }
  }
  report.seconds = (performance.now() - startedAt) / 1000
  return report
}

async function feedsOf(stand: Stand): Promise<Map<string, Feed>> {
  const names = (await (await fetch(stand.parsers.address)).json()) as string[]
  const inWorkerd = names.map((name): [string, Feed] => [
    name,
    { chunk: CHUNK, run: (run) => runInWorkerd(stand.parsers.address, name, run) },
  ])
  const here = (suites: Record<string, Suite>, maxMs: number) =>
    Object.entries(suites).map(([name, one]): [string, Feed] => [
      name,
      { chunk: CHUNK, run: (run) => runSuite(one, run, maxMs) },
    ])
  const accounts = new Accounts(stand.query)
  const write = requestSuite(stand, writes, accounts)
  const read = requestSuite(stand, reads)
  return new Map<string, Feed>([
    ...inWorkerd,
    ...here(CLIENT_SUITES, MAX_PARSE_MS),
    ...here(
      {
        ...sourceSuites(stand.folder),
        sql: sqlSuite(stand.databaseUrl),
        analyticsServer: analyticsSuite(stand),
      },
      MAX_REQUEST_MS,
    ),
    [
      "writes",
      {
        mean: MEAN_AT_ONCE,
        chunk: CHUNK_OF_REQUESTS,
        run: (run) => runSuite(write, run, MAX_REQUEST_MS),
        begin: () => accounts.begin(),
        settle: () => accounts.settle(),
      },
    ],
    [
      "reads",
      { mean: MEAN_AT_ONCE, chunk: CHUNK_OF_REQUESTS, run: (run) => runSuite(read, run, MAX_REQUEST_MS) },
    ],
  ])
}

async function runInWorkerd(address: string, name: string, run: Run): Promise<Outcome> {
  const body = JSON.stringify({ name, ...run })
  const response = await fetch(address, {
    method: "POST",
    body,
    signal: AbortSignal.timeout(CHUNK_DEADLINE_MS),
  })
  if (!response.ok) throw new Error(`workerd answered ${response.status}: ${await response.text()}`)
  return (await response.json()) as Outcome
}

/** Requests that are sent at once. */
const requestSuite = ({ service }: Stand, requests: fc.Arbitrary<Sent>, accounts?: Accounts): Suite =>
  suite({
    inputs: fc.array(requests, { minLength: 1, maxLength: MOST_AT_ONCE, size: "max" }),
    sizeOf: (all) => all.length,
    async check(all) {
      const answers = await Promise.all(
        all.map(async (sent) => {
          const note = accounts?.leaves(sent)
          const answered = await ask(service.address, sent)
          note?.(answered)
          return answered
        }),
      )
      for (const [index, sent] of all.entries()) {
        const answered = answers[index] as Answered
        expectGood(sent, answered, service.log)
        accounts?.note(sent, answered)
      }
    },
  })

/** The refusals that a request may get although nothing is wrong with it, and that say when to come back. */
const MAY_COME_BACK = new Set(["overloaded", "metrics_unavailable"])

function expectGood(sent: Sent, { status, headers, text }: Answered, log: readonly string[]): void {
  const told = `${sent.method} ${sent.path} was answered ${status}: ${text.slice(0, 500)}`
  const comesBack = status === 503 && headers["retry-after"] !== undefined
  if (sent.method === "HEAD") return void expect(status < 500 || comesBack, told)
  if (sent.path.startsWith("/metrics") && status === 200) return
  if (status === 200 && /^(text\/csv|application\/x-ndjson)/.test(String(headers["content-type"]))) return
  const body = text === "" && status === 204 ? {} : (JSON.parse(text) as { code?: unknown; detail?: unknown })
  if (status >= 500) {
    const asked = comesBack && MAY_COME_BACK.has(String(body.code))
    const line = log.findLast((one) => one.includes(String(headers["x-request-id"])))
    expect(asked, `${told}\nthe service's log: ${line}`)
  }
  if (status >= 400)
    expect(typeof body.code === "string" && body.detail !== undefined, `no code or detail: ${told}`)
  expect(headers["content-type"]?.includes("json") || status === 204, `not JSON: ${told}`)
}

const analyticsSuite = ({ analytics }: Stand): Suite =>
  suite({
    inputs: sqlText,
    async check(sent) {
      const headers = { Authorization: `Bearer ${analytics.token}` }
      const url = `${analytics.url}/accounts/local/analytics_engine/sql`
      const response = await fetch(url, { method: "POST", body: sent, headers })
      const text = await response.text()
      expect(
        [200, 413, 422].includes(response.status),
        `it was answered ${response.status}: ${text.slice(0, 500)}`,
      )
      if (response.status === 200) JSON.parse(text)
    },
  })

/** Lines of workerd's log that the service has not written: an error that nobody caught. */
export const strangeLines = (log: readonly string[]): string[] => log.filter((line) => !line.startsWith("{"))
