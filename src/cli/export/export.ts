import {
  AbortedError,
  type ListFilter,
  type SignalClient,
  SignalError,
  type StoredSignal,
} from "../../client/index.ts"
import { parseJson } from "../../signals/json.ts"
import type { ExportedRow } from "../../signals/lines.ts"
import { asUsageError, EXIT, isExpected, reasonOf, UsageError } from "../terminal/errors.ts"
import { type Invocation, openClient } from "../terminal/options.ts"
import { type Line, openLine } from "../terminal/output.ts"
import { type Encoder, type FormatName, openEncoder } from "./encoder.ts"
import { openFile } from "./partial-file.ts"
import { openStandardOutput, type Progress, type Sink } from "./sink.ts"

export interface ExportOptions {
  format: FormatName
  out: string
  gzip?: true | undefined
  conversation?: string | undefined
  source?: string | undefined
  user?: string | undefined
  agent?: string | undefined
  escalate?: "0" | "1" | undefined
  minScore?: number | undefined
  maxScore?: number | undefined
  since?: string | undefined
  until?: string | undefined
  contains?: string | undefined
  /** `path=value` each. */
  payload?: string[] | undefined
  force?: true | undefined
  restart?: true | undefined
  url: string
  /** Seconds. */
  deadline: number
  quiet?: true | undefined
}

/** Runs `signals export`. Returns the exit code. */
export async function runExportCommand(options: ExportOptions, invocation: Invocation): Promise<number> {
  const { format, out, gzip = false } = options
  if (format === "parquet" && gzip)
    throw new UsageError("--gzip is for ndjson and csv: parquet is compressed already.")
  if (format === "parquet" && out === "-")
    throw new UsageError("parquet is written to a file. Name one with --out.")
  const filter = filterOf(options)
  const service = options.url.replace(/(?<!\/)\/+$/, "")
  const settings = { service, format, ...(gzip && { gzip }), ...filter }
  // Numbers of a payload keep every digit.
  const client = openClient({ ...options, parse: parseJson })
  invocation.printsResult = out === "-"
  const sink =
    out === "-"
      ? openStandardOutput()
      : await openFile({
          path: out,
          force: options.force ?? false,
          restart: options.restart ?? false,
          settings,
        })
  try {
    await refuseOtherDatabase(client, sink, service)
    const encoder = await openEncoder(format, { gzip, saved: sink.begun.encoder ?? undefined })
    return await exportTo(sink, encoder, {
      client,
      filter,
      stop: invocation.stop,
      line: options.quiet ? undefined : openLine(process.stderr),
    })
  } finally {
    await sink.close()
  }
}

/**
 * The rest of an export must come from the database of its beginning.
 *
 * @throws {UsageError} the ledger does not have the batch of the first signal
 */
async function refuseOtherDatabase(
  client: SignalClient,
  { begun, name }: Sink,
  service: string,
): Promise<void> {
  if (begun.transaction === null || begun.finished || (await client.batch(begun.transaction))) return
  throw new UsageError(
    `${service} does not have the batch of the first signal in ${name}.partial: its database is another one, or that batch was removed. Start again with --restart, or name another file with --out.`,
  )
}

/** Only what is given, in one order, so that the settings of two runs can be compared. */
function filterOf({ escalate, ...options }: ExportOptions): ListFilter {
  const filter = {
    context_window_id: options.conversation,
    signal_source: options.source,
    user_id: options.user,
    agent_id: options.agent,
    escalate_flag: escalate === undefined ? undefined : escalate === "1" ? 1 : 0,
    min_score: options.minScore,
    max_score: options.maxScore,
    since: options.since,
    until: options.until,
    q: options.contains,
    payload: options.payload && payloadOf(options.payload),
  } as const
  return Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined))
}

function payloadOf(assignments: readonly string[]): ListFilter["payload"] {
  return Object.fromEntries(
    assignments.map((text) => {
      // At the first equals sign that no backslash makes a part of a key.
      const [, path, value] = /^((?:\\[\\.=]|\\(?![\\.=])|[^=\\])+)=(.*)$/s.exec(text) ?? []
      if (path === undefined || value === undefined)
        throw new UsageError(`--payload ${text} has no value. Write a path and a value, such as order.id=1.`)
      return [path, value]
    }),
  )
}

interface Work {
  client: SignalClient
  filter: ListFilter
  stop: AbortSignal
  line: Line | undefined
}

async function exportTo(sink: Sink, encoder: Encoder, work: Work): Promise<number> {
  const { line } = work
  const isKept = sink.name !== "standard output"
  const again = isKept ? " The same command continues." : " What was printed is not the whole."
  if (sink.begun.signals > 0) console.error(`Continuing after ${amount(sink.begun)}.`)
  const copy = new Copy(sink, encoder, work)
  try {
    const complete = await copy.run()
    line?.end()
    if (!complete) {
      console.error(`Stopped after ${amount(copy.written)}.${again}`)
      return EXIT.stopped
    }
    await sink.complete(await encoder.finish())
    const { omitted } = copy.written
    console.error(`Exported ${amount(copy.written)} to ${sink.name}.`)
    if (omitted > 0)
      console.error(
        `${omitted} payloads are larger than 8 MB, and were left out: "payload_omitted" marks their signals. GET /api/signals/ID returns one of up to 16 MB.`,
      )
    return omitted > 0 ? EXIT.someFailed : EXIT.done
  } catch (error) {
    line?.end()
    if (!isExpected(asUsageError(error))) throw error
    console.error(`Gave up: ${reasonOf(error)}\nSo far: ${amount(copy.written)}.${again}`)
    return EXIT.gaveUp
  }
}

const amount = ({ signals, bytes }: Pick<Progress, "signals" | "bytes">) =>
  `${signals.toLocaleString("en-US")} signals, ${(bytes / 1e6).toFixed(1)} MB`

/**
 * Reads pages and writes blocks. The progress is noted behind a page, so that the next run begins with the
 * page after it.
 */
class Copy {
  readonly #sink: Sink
  readonly #encoder: Encoder
  readonly #work: Work
  readonly #beganAt = performance.now()
  /** As of the last block. */
  written: Progress
  /** As of the last page. */
  #read: Progress

  constructor(sink: Sink, encoder: Encoder, work: Work) {
    this.#sink = sink
    this.#encoder = encoder
    this.#work = work
    this.written = this.#read = sink.begun
  }

  /** @returns whether every signal was written */
  async run(): Promise<boolean> {
    const { client, filter, stop } = this.#work
    if (this.written.finished) return true
    try {
      for await (const page of client.listPages({ ...filter, cursor: this.#read.cursor }, { signal: stop })) {
        this.#take(page.signals, page.next_cursor)
        if (this.#read.finished || this.#encoder.isFull) await this.#flush()
        if (stop.aborted) break
      }
    } catch (error) {
      if (!(error instanceof SignalError)) throw error
      await this.#flush()
      if (!(error instanceof AbortedError)) throw error
    }
    if (!this.written.finished) await this.#flush()
    return this.written.finished
  }

  #take(signals: readonly StoredSignal[], next: string | null): void {
    for (const signal of signals) this.#encoder.add(exported(signal))
    this.#read = {
      ...this.#read,
      cursor: next ?? this.#read.cursor,
      finished: next === null,
      signals: this.#read.signals + signals.length,
      transaction: this.#read.transaction ?? signals[0]?.transaction_id ?? null,
      omitted: this.#read.omitted + signals.filter(({ payload_omitted }) => payload_omitted).length,
    }
    const seconds = Math.max(0.001, (performance.now() - this.#beganAt) / 1000)
    const rate = Math.round((this.#read.signals - this.#sink.begun.signals) / seconds)
    this.#work.line?.show(
      `${amount({ ...this.#read, bytes: this.written.bytes })}, ${rate.toLocaleString("en-US")}/s`,
    )
  }

  async #flush(): Promise<void> {
    if (this.#read === this.written) return
    const block = await this.#encoder.takeBlock()
    const progress = {
      ...this.#read,
      bytes: this.written.bytes + block.length,
      encoder: this.#encoder.save(),
    }
    await this.#sink.append(block, progress)
    this.written = this.#read = progress
  }
}

const exported = ({ payload, ...signal }: StoredSignal): ExportedRow => ({
  ...signal,
  payload: payload === null ? null : JSON.stringify(payload),
})
