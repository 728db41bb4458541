import type { SignalClient } from "../../client/index.ts"
import { FailuresFile } from "../files/failures.ts"
import { type OpenedSource, openSource, type SourceRequest } from "../sources/open.ts"
import { SourceError } from "../sources/reading/source.ts"
import type { Imported } from "../sources/rows/convert.ts"
import { asUsageError, EXIT, isExpected, reasonOf, UsageError } from "../terminal/errors.ts"
import { apiKey, type Invocation, openClient } from "../terminal/options.ts"
import { openProgress, say } from "../terminal/output.ts"
import { BeginningChanged } from "./batches.ts"
import { type Checkpoint, writeCheckpoint } from "./checkpoint.ts"
import { deliverTo } from "./deliver.ts"
import { runImport } from "./engine.ts"
import { beginState, digest, openState, type StateOptions } from "./state.ts"
import { dryRun, writeBatchFiles } from "./without-service.ts"

const MAX_IGNORED = 20
const SHOWN_REASONS = 5

export interface ImportOptions {
  url: string
  batchSize: number
  concurrency: number
  /** Seconds. */
  deadline: number
  dryRun?: true | undefined
  output?: string | undefined
  state?: string | undefined
  failures?: string | undefined
  restart?: true | undefined
  quiet?: true | undefined
}

/** Runs `signals import`. Returns the exit code. */
export async function runImportCommand(
  request: SourceRequest,
  options: ImportOptions,
  invocation: Invocation,
  imported: Imported = "signals",
): Promise<number> {
  const source = await openSource(request, imported)
  if (options.dryRun) {
    invocation.printsResult = true
    return dryRun(source.source, invocation.stop)
  }
  if (options.output !== undefined)
    return writeBatchFiles(source.source, { ...options, output: options.output, imported }, invocation.stop)
  const client = openClient(options)
  const stateOptions = {
    client,
    service: serviceOf(options.url),
    key: digest(`key ${apiKey() ?? ""}`, 32),
    source,
    batchSize: options.batchSize,
    path: options.state,
    restart: options.restart ?? false,
    tell: say,
  }
  const { path, checkpoint, release } = await openState(stateOptions)
  try {
    const work = { source, client, options, invocation, statePath: path, imported }
    return await importFrom(work, checkpoint).catch(async (error) => {
      if (!(error instanceof BeginningChanged)) throw error
      return await startAgain(work, checkpoint, stateOptions)
    })
  } finally {
    await release()
  }
}

/** The address of a service, in one spelling. */
const serviceOf = (url: string): string => {
  const { origin, pathname } = new URL(url)
  return `${origin}${pathname.replace(/(?<!\/)\/+$/, "")}`
}

interface Work {
  source: OpenedSource
  client: SignalClient
  options: ImportOptions
  invocation: Invocation
  statePath: string
  imported: Imported
}

/** @throws {UsageError} the source's signals would be stored twice */
async function startAgain(work: Work, checkpoint: Checkpoint, options: StateOptions): Promise<number> {
  const { source, statePath } = work
  const before = `${source.name} does not begin with the ${checkpoint.beginning?.read} records that were imported before`
  if (!source.source.namesItsSignals)
    throw new UsageError(
      `${before} (${statePath}). Nothing was sent. If records in this beginning were corrected, import a file that has only these. --restart sends the whole source: a signal with a dedupe_key is stored once, others are stored again.`,
    )
  say(`${before}. It is imported from its beginning; each message is stored once.`)
  const begun = await beginState(options, statePath)
  return await importFrom(work, begun.checkpoint)
}

async function importFrom(work: Work, checkpoint: Checkpoint): Promise<number> {
  const { source, client, options, invocation, statePath, imported } = work
  const { stop } = invocation
  const former = { ...checkpoint }
  const failures = await openFailures(options, statePath, checkpoint)
  const progress = options.quiet
    ? undefined
    : openProgress(process.stderr, source.source.share, { ...checkpoint })
  if (former.nextBatch > 0 && !former.finished) say(`Continuing after: ${summary(former)}.`)
  const print = (sentence: string, isComplete: boolean) => {
    console.log(sentence)
    const lines = imported === "scores" ? "scores jsonl" : "jsonl"
    const kind = source.kind === "slack" ? "slack" : lines
    for (const remark of remarks(checkpoint, failures.path, kind, isComplete)) console.log(remark)
    const columns = source.source.payloadColumns?.() ?? []
    if (columns.length > 0 && isComplete)
      console.log(`Stored in the payload, because a signal has no such field: ${listOf(columns)}.`)
  }
  try {
    const complete = await runImport({
      source: source.source,
      checkpoint,
      statePath,
      failures,
      concurrency: options.concurrency,
      stop,
      deliver: deliverTo(client, checkpoint.importId, {
        deadlineMs: options.deadline * 1000,
        signal: invocation.end,
        isScores: imported === "scores",
        onAnswer: ({ transaction_id, ignored_fields }) => {
          checkpoint.transaction = transaction_id ?? checkpoint.transaction
          checkpoint.ignoredFields = [
            ...new Set([...checkpoint.ignoredFields, ...(ignored_fields ?? [])]),
          ].slice(0, MAX_IGNORED)
        },
      }),
      onProgress: (now, limit) => progress?.show(now, limit),
    })
    progress?.end()
    const wasDone = former.finished && checkpoint.nextBatch === former.nextBatch
    if (wasDone)
      console.log(
        `The whole source was imported before: ${summary(checkpoint)}. Send it again with --restart.`,
      )
    else if (complete) print(`Imported: ${summary(checkpoint)}.`, true)
    else print(`Stopped; the same command continues: ${summary(checkpoint)}.`, false)
    if (!complete) return EXIT.stopped
    return checkpoint.failed > 0 ? EXIT.someFailed : EXIT.done
  } catch (thrown) {
    progress?.end()
    if (stop.aborted) {
      print(`Stopped; the same command continues: ${summary(checkpoint)}.`, false)
      return EXIT.stopped
    }
    const error = asUsageError(thrown)
    if (checkpoint.nextBatch === former.nextBatch && !isExpected(error)) throw error
    if (!isExpected(error) && !(error instanceof UsageError)) throw error
    return gaveUp(error, checkpoint)
  } finally {
    await failures.close()
  }
}

/** Says what the service has, and how to go on, so that nothing is stored twice. */
function gaveUp(error: Error, checkpoint: Checkpoint): number {
  const next =
    error instanceof SourceError || error instanceof UsageError
      ? " What could be read is sent. When the source is mended, the same command continues behind it."
      : " The same command continues."
  console.error(`Gave up: ${reasonOf(error)}\nSo far: ${summary(checkpoint)}.${next}`)
  return error instanceof UsageError ? EXIT.usage : EXIT.gaveUp
}

/** @throws {UsageError} `--failures` names a file that exists, and is not of this import */
async function openFailures(
  options: ImportOptions,
  statePath: string,
  checkpoint: Checkpoint,
): Promise<FailuresFile> {
  const { failures: written } = checkpoint
  const isOther = options.failures !== undefined && options.failures !== written?.path
  if (written && !isOther) return new FailuresFile(written.path, written, say)
  if (options.failures === undefined)
    return new FailuresFile(statePath.replace(/(\.json)?$/, ".failures.jsonl"))
  const file = new FailuresFile(options.failures)
  await file.create()
  checkpoint.failures = file.written
  await writeCheckpoint(statePath, checkpoint)
  return file
}

function summary({ read, stored, failed, skipped }: Checkpoint): string {
  const kinds = Object.entries(skipped).map(([kind, count]) => `${count} ${kind}`)
  return `${read} read, ${stored} stored, ${failed} failed${kinds.length > 0 ? `, skipped: ${kinds.join(", ")}` : ""}`
}

/** The sentences after an import: the reasons of failures, and the fields that the service ignored. */
function* remarks(
  { reasons, failed, ignoredFields }: Checkpoint,
  failuresPath: string,
  kind: string,
  isComplete: boolean,
): Generator<string> {
  if (failed > 0) {
    const most = Object.entries(reasons)
      .filter(([, count]) => count > 0)
      .sort(([, a], [, b]) => b - a)
    yield `Failed, by reason:`
    for (const [reason, count] of most.slice(0, SHOWN_REASONS)) yield `  ${count}: ${reason}`
    if (most.length > SHOWN_REASONS) yield `  and ${most.length - SHOWN_REASONS} more reasons`
    yield isComplete
      ? `The failures file has these records. Correct them, then run: signals import ${kind} ${failuresPath}`
      : `The failures file has these records: ${failuresPath}`
  }
  if (ignoredFields.length > 0)
    yield `Not stored, because a signal has no such field: ${ignoredFields.join(", ")}. Put them into "payload" to keep them.`
}

const listOf = (columns: readonly string[]) =>
  columns.length <= MAX_IGNORED
    ? columns.join(", ")
    : `${columns.slice(0, MAX_IGNORED).join(", ")} and ${columns.length - MAX_IGNORED} more`
