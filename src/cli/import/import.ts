import { createHash } from "node:crypto"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { SignalClient } from "../../client/index.ts"
import { FailuresFile } from "../failures.ts"
import { SENDING, serviceAddress, wholeNumber } from "../options.ts"
import { openProgress } from "../progress.ts"
import { openSource, SOURCE_OPTIONS } from "../sources/open.ts"
import type { Source } from "../sources/source.ts"
import { EXIT, UsageError } from "../usage.ts"
import { writeBatchFiles } from "./batch-files.ts"
import { type Checkpoint, newCheckpoint, readCheckpoint, writeCheckpoint } from "./checkpoint.ts"
import { deliverTo } from "./deliver.ts"
import { runImport } from "./engine.ts"

/** `signals import KIND ...`. Returns the exit code. */
export async function importCommand(kind: string, args: readonly string[], stop: AbortSignal): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...SENDING,
      ...SOURCE_OPTIONS,
      "dry-run": { type: "boolean", default: false },
      output: { type: "string", short: "o" },
    },
  })
  const batchSize = wholeNumber("batch-size", values["batch-size"], 1, 10_000)
  const concurrency = wholeNumber("concurrency", values.concurrency, 1, 100)
  const deadlineMs = wholeNumber("deadline", values.deadline, 1, 86_400) * 1000
  const { source, name, fingerprint } = await openSource(kind, positionals, values)
  if (values["dry-run"]) return dryRun(source, stop)
  if (values.output !== undefined) return writeBatchFiles(source, values.output, batchSize)

  const statePath = values.state ?? stateFile(name, fingerprint)
  const checkpoint = await openCheckpoint(statePath, { fingerprint, batchSize, restart: values.restart })
  if (checkpoint.finished) {
    console.log(`All of it had been imported before: ${summary(checkpoint)}. --restart sends it again.`)
    return checkpoint.failed > 0 ? EXIT.someFailed : EXIT.done
  }
  const url = serviceAddress(values.url)
  const client = new SignalClient({
    url,
    ...(process.env.SIGNAL_INGEST_KEY && { key: process.env.SIGNAL_INGEST_KEY }),
    deadlineMs,
  })
  const failures = new FailuresFile(
    values.failures ?? statePath.replace(/(\.json)?$/, ".failures.jsonl"),
    checkpoint.failureBytes,
  )
  const progress = values.quiet ? undefined : openProgress(process.stderr, source.share, checkpoint)
  if (checkpoint.nextBatch > 0) console.error(`Going on where it was: ${summary(checkpoint)}.`)
  try {
    const complete = await runImport({
      source,
      checkpoint,
      statePath,
      failures,
      concurrency,
      stop,
      deliver: deliverTo(client, checkpoint.importId, { deadlineMs }),
      onProgress: (now, window) => progress?.show(now, window),
    })
    progress?.end()
    console.log(`${complete ? "Imported" : "Stopped; the same command goes on"}: ${summary(checkpoint)}.`)
    if (checkpoint.failed > 0) console.log(`What failed is in ${failures.path}: mend it, and import that file.`)
    if (!complete) return EXIT.stopped
    return checkpoint.failed > 0 ? EXIT.someFailed : EXIT.done
  } catch (error) {
    progress?.end()
    if (error instanceof UsageError) throw error
    console.error(`Gave up: ${(error as Error).message}\nUp to there: ${summary(checkpoint)}. The same command goes on.`)
    return EXIT.gaveUp
  } finally {
    await failures.close()
  }
}

export function summary({ read, stored, failed, skipped }: Checkpoint): string {
  const kinds = Object.entries(skipped).map(([kind, count]) => `${count} ${kind}`)
  return `${read} read, ${stored} stored, ${failed} failed${kinds.length > 0 ? `, skipped: ${kinds.join(", ")}` : ""}`
}

/** In a folder of the current one, by the name of the source and what tells it from others. */
function stateFile(name: string, fingerprint: string): string {
  const digest = createHash("sha256").update(fingerprint).digest("hex").slice(0, 8)
  return join(".signals", `${name.replace(/[^\w.-]+/g, "_").slice(-60)}-${digest}.json`)
}

async function openCheckpoint(
  path: string,
  wanted: { fingerprint: string; batchSize: number; restart: boolean },
): Promise<Checkpoint> {
  const found = wanted.restart ? undefined : await readCheckpoint(path)
  if (!found) {
    const checkpoint = newCheckpoint(wanted.fingerprint, wanted.batchSize)
    await writeCheckpoint(path, checkpoint)
    return checkpoint
  }
  if (found.source !== wanted.fingerprint)
    throw new UsageError(
      `${path} is of another source, or it has changed since. --restart begins anew, --state names another file.`,
    )
  if (found.batchSize !== wanted.batchSize && !found.finished)
    throw new UsageError(`It was begun with --batch-size ${found.batchSize}, and goes on with that only. --restart begins anew.`)
  return found
}

/** Prints each signal as it would be sent, and what would be left out and why. */
async function dryRun(source: Source, stop: AbortSignal): Promise<number> {
  const counts = { signals: 0, skipped: 0, faults: 0 }
  for await (const record of source.records()) {
    if (stop.aborted) return EXIT.stopped
    if ("signal" in record) {
      counts.signals++
      console.log(JSON.stringify(record.signal))
    } else if ("skipped" in record) {
      counts.skipped++
      console.error(`${record.place}: skipped, ${record.skipped}`)
    } else {
      counts.faults++
      console.error(`${record.place}: ${record.fault}`)
    }
  }
  console.error(
    `${counts.signals} signals would be sent, ${counts.skipped} skipped, ${counts.faults} can't be read. Nothing was sent.`,
  )
  return counts.faults > 0 ? EXIT.someFailed : EXIT.done
}
