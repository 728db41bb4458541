import type { AuditPage, LedgerMismatch } from "../../client/index.ts"
import { jsonLine } from "../../signals/lines.ts"
import { EXIT } from "../terminal/errors.ts"
import { openClient } from "../terminal/options.ts"
import { say } from "../terminal/output.ts"

export interface AuditOptions {
  url: string
  /** Seconds. */
  deadline: number
  after?: string | undefined
  page: number
  json?: true | undefined
  quiet?: true | undefined
}

type Part = AuditPage["part"]

/**
 * Walks the whole audit, and prints every mismatch. When it stops before the end, it prints where it can
 * continue.
 *
 * @returns the exit code: 1 when something differs
 */
export async function audit(options: AuditOptions, stop: AbortSignal): Promise<number> {
  const checked: Record<Part, number> = { signals: 0, batches: 0, keys: 0 }
  let mismatches = 0
  let cursor = options.after ?? null
  try {
    const pages = openClient(options).audit({ cursor: options.after, limit: options.page }, { signal: stop })
    for await (const page of pages) {
      checked[page.part] += page.checked
      mismatches += page.mismatch_count
      // A reader of the output that leaves must not end an audit: so these lines are not awaited.
      for (const mismatch of page.mismatches)
        console.log(options.json ? jsonLine(mismatch) : lineOf(mismatch))
      const hidden = page.mismatch_count - page.mismatches.length
      if (hidden > 0) say(`${hidden} more of this page are not listed: use a smaller --page.`)
      cursor = page.next_cursor
      if (!options.quiet && process.stderr.isTTY) process.stderr.write(`\r${summaryOf(checked)}`)
    }
  } catch (error) {
    if (cursor !== null) say(`Continue with --after ${cursor}`)
    if (!stop.aborted) throw error
    return EXIT.stopped
  }
  if (!options.quiet && process.stderr.isTTY) process.stderr.write("\n")
  if (!options.json) console.log(`${summaryOf(checked)} checked, ${mismatches} mismatches.`)
  return mismatches > 0 ? EXIT.someFailed : EXIT.done
}

const summaryOf = ({ signals, batches, keys }: Record<Part, number>) =>
  `${signals} signals, ${batches} batches, ${keys} dedupe keys`

const lineOf = ({ kind, transaction_id, signal_id }: LedgerMismatch) =>
  [
    kind.padEnd(21),
    `batch ${transaction_id ?? "-"}`,
    ...(signal_id === null ? [] : [`signal ${signal_id}`]),
  ].join("  ")
