import { type SignalClient, SignalError } from "../../client/index.ts"
import { FailuresFile } from "../failures.ts"
import { openClient } from "../options.ts"
import { openProgress } from "../progress.ts"
import { openSource, type SourceRequest } from "../sources/open.ts"
import { type Source, SourceError } from "../sources/source.ts"
import { EXIT, reasonOf, UsageError } from "../usage.ts"
import { writeBatchFiles } from "./batch-files.ts"
import type { Checkpoint } from "./checkpoint.ts"
import { deliverTo } from "./deliver.ts"
import { runImport } from "./engine.ts"
import { type LockedState, openState } from "./state.ts"

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
  stop: AbortSignal,
): Promise<number> {
  const { kind } = request
  const { url, batchSize } = options
  const { source, ...identity } = await openSource(request)
  if (options.dryRun) return dryRun(source, stop)
  if (options.output !== undefined) return writeBatchFiles(source, options.output, batchSize)

  const client = openClient(options)
  const state = await openState({
    client,
    service: new URL(url).origin,
    source: identity,
    batchSize,
    path: options.state,
    restart: options.restart ?? false,
    tell: (sentence) => console.error(sentence),
  }).catch(giveUp)
  if (state === undefined) return EXIT.gaveUp
  try {
    return await importFrom(source, kind, options, state, client, stop)
  } finally {
    await state.release()
  }
}

async function importFrom(
  source: Source,
  kind: SourceRequest["kind"],
  options: ImportOptions,
  { path: statePath, checkpoint }: LockedState,
  client: SignalClient,
  stop: AbortSignal,
): Promise<number> {
  if (checkpoint.finished) {
    const mayHaveChanged = kind === "sql" ? " The importer does not notice changes of the table." : ""
    console.log(
      `The whole source was imported before: ${summary(checkpoint)}.${mayHaveChanged} Send it again with --restart.`,
    )
    return checkpoint.failed > 0 ? EXIT.someFailed : EXIT.done
  }
  const failures = new FailuresFile(
    options.failures ?? statePath.replace(/(\.json)?$/, ".failures.jsonl"),
    checkpoint.failureBytes,
  )
  const progress = options.quiet ? undefined : openProgress(process.stderr, source.share, checkpoint)
  if (checkpoint.nextBatch > 0) console.error(`Continuing after: ${summary(checkpoint)}.`)
  try {
    const complete = await runImport({
      source,
      checkpoint,
      statePath,
      failures,
      concurrency: options.concurrency,
      stop,
      deliver: deliverTo(client, checkpoint.importId, {
        deadlineMs: options.deadline * 1000,
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
    console.log(`${complete ? "Imported" : "Stopped; the same command continues"}: ${summary(checkpoint)}.`)
    for (const sentence of remarks(
      checkpoint,
      `signals import ${kind === "slack" ? kind : "jsonl"} ${failures.path}`,
    ))
      console.log(sentence)
    if (!complete) return EXIT.stopped
    return checkpoint.failed > 0 ? EXIT.someFailed : EXIT.done
  } catch (error) {
    progress?.end()
    if (error instanceof UsageError) throw error
    const next = error instanceof SourceError ? "" : " The same command continues."
    console.error(`Gave up: ${reasonOf(error)}\nSo far: ${summary(checkpoint)}.${next}`)
    return EXIT.gaveUp
  } finally {
    await failures.close()
  }
}

/** Reports an error of the service; throws any other. */
function giveUp(error: unknown): undefined {
  if (!(error instanceof SignalError)) throw error
  console.error(`Gave up: ${reasonOf(error)}\nNothing was sent. The same command continues.`)
}

export function summary({ read, stored, failed, skipped }: Checkpoint): string {
  const kinds = Object.entries(skipped).map(([kind, count]) => `${count} ${kind}`)
  return `${read} read, ${stored} stored, ${failed} failed${kinds.length > 0 ? `, skipped: ${kinds.join(", ")}` : ""}`
}

/** The sentences after an import: the reasons of failures, and the fields that the service ignored. */
function* remarks({ reasons, failed, ignoredFields }: Checkpoint, retry: string): Generator<string> {
  if (failed > 0) {
    const most = Object.entries(reasons).sort(([, one], [, other]) => other - one)
    yield `Failed, by reason:`
    for (const [reason, count] of most.slice(0, SHOWN_REASONS)) yield `  ${count}: ${reason}`
    if (most.length > SHOWN_REASONS) yield `  and ${most.length - SHOWN_REASONS} more reasons`
    yield `The failures file has these records. Correct them, then run: ${retry}`
  }
  if (ignoredFields.length > 0)
    yield `Not stored, because a signal has no such field: ${ignoredFields.join(", ")}. Put them into "payload" to keep them.`
}

/** Prints each signal as it would be sent, and each other record with the reason why it would not be sent. */
async function dryRun(source: Source, stop: AbortSignal): Promise<number> {
  const counts = { signals: 0, skipped: 0, unreadable: 0 }
  for await (const record of source.records()) {
    if (stop.aborted) return EXIT.stopped
    if ("signal" in record) {
      counts.signals++
      console.log(JSON.stringify(record.signal))
    } else if ("skipped" in record) {
      counts.skipped++
      console.error(`${record.place}: skipped, ${record.skipped}`)
    } else {
      counts.unreadable++
      console.error(`${record.place}: ${record.error}`)
    }
  }
  console.error(
    `${counts.signals} signals would be sent, ${counts.skipped} skipped, ${counts.unreadable} cannot be read. Nothing was sent.`,
  )
  return counts.unreadable > 0 ? EXIT.someFailed : EXIT.done
}
