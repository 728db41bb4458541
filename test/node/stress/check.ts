import { erased, isSuppressedAfter, type Model, type SentSignal } from "./model.ts"
import type { Stand } from "./stand.ts"

interface Row {
  id: number
  token: string | null
  conversation: string
  dedupe_key: string | null
}

/** The tables when the queue is empty and every erasure is done. */
interface Tables {
  rows: Row[]
  deadLetters: { record: string; state: string }[]
  ledger: Map<string, { successful: number; failed: number; state: string; reason: string | null }>
}

/** Every difference between the promises and the tables, as sentences. */
export async function differences(stand: Stand, model: Model): Promise<string[]> {
  const tables = await readTables(stand)
  return [
    ...model.seen,
    ...signalDifferences(model, tables),
    ...tornBatches(model, tables),
    ...batchDifferences(model, tables),
    ...keyDifferences(tables),
    ...slackDifferences(model, tables),
    ...feedDifferences(model, tables),
  ]
}

async function readTables({ query }: Stand): Promise<Tables> {
  const rows = await query<Row>(
    "select id::float8 as id, raw_content as token, context_window_id as conversation, dedupe_key from signals",
  )
  const deadLetters = await query<{ record: string; state: string }>("select record, state from dead_letters")
  const ledger = await query<{
    id: string
    successful: number
    failed: number
    state: string
    reason: string | null
  }>(
    "select transaction_id as id, total_count - failed_count as successful, failed_count as failed, state, reason from batches",
  )
  return { rows, deadLetters, ledger: new Map(ledger.map(({ id, ...row }) => [id, row])) }
}

function signalDifferences(model: Model, { rows, deadLetters, ledger }: Tables): string[] {
  const byToken = Map.groupBy(rows, ({ token }) => token ?? "")
  const holders = new Set(rows.flatMap(({ dedupe_key }) => (dedupe_key === null ? [] : [dedupe_key])))
  const everHeld = new Set(
    model.signals.flatMap(({ dedupeKey, promised }) =>
      dedupeKey !== undefined && promised !== "refused" ? [dedupeKey] : [],
    ),
  )
  const deadTexts = deadLetters.map(({ record }) => record).join("\n")
  const found: string[] = []
  const wrong = (signal: SentSignal, what: string) =>
    found.push(
      `${what}: ${JSON.stringify({ ...signal, erased: erased(signal, model.erasures), ledger: ledger.get(signal.transactionId ?? "") })}`,
    )

  for (const signal of model.signals) {
    const count = byToken.get(signal.token)?.length ?? 0
    const erasure = erased(signal, model.erasures)
    const isDuplicate =
      signal.dedupeKey !== undefined && (holders.has(signal.dedupeKey) || everHeld.has(signal.dedupeKey))
    if (count > 1) wrong(signal, `stored ${count} times`)
    const [row] = byToken.get(signal.token) ?? []
    if (row && signal.promised === "stored" && row.id !== signal.id)
      wrong(signal, `stored under the id ${row.id}, and not the one of its answer`)
    if (count > 0 && erasure === "must") wrong(signal, "erased and still stored")
    if (count > 0 && signal.promised === "refused") wrong(signal, "refused and stored")
    if (count > 0 && signal.promised === "duplicate") wrong(signal, "a duplicate and stored")
    if (count > 0 && isSuppressedAfter(signal, model.erasures)) wrong(signal, "suppressed and stored")
    if (count > 0 || erasure !== "no") continue
    if (signal.promised === "stored") wrong(signal, "stored and gone")
    if (signal.promised !== "accepted" || isDuplicate) continue
    if (signal.mayFailWhole && ledger.get(signal.transactionId ?? "")?.state === "failed") continue
    const isDead = deadTexts.includes(JSON.stringify(signal.token).slice(1, -1))
    if (!isDead) wrong(signal, "accepted and nowhere")
  }
  return found
}

/**
 * The good signals of a batch in doubt, without dedupe keys and out of every erasure's reach, are all there
 * or none.
 */
function tornBatches(model: Model, { rows }: Tables): string[] {
  const tokens = new Set(rows.map(({ token }) => token))
  const batches = Map.groupBy(
    model.signals.filter(
      (signal) =>
        signal.promised === "doubt" &&
        signal.isGood &&
        signal.dedupeKey === undefined &&
        erased(signal, model.erasures) === "no",
    ),
    ({ batch }) => batch,
  )
  return [...batches].flatMap(([batch, signals]) => {
    const stored = signals.filter(({ token }) => tokens.has(token)).length
    return stored === 0 || stored === signals.length
      ? []
      : [`torn: ${stored} of ${signals.length} of ${batch}`]
  })
}

function batchDifferences(model: Model, { rows, ledger }: Tables): string[] {
  const stored = new Set(rows.map(({ token }) => token))
  const wrongCounts = model.batches.flatMap(({ transactionId, successful, failed }) => {
    const row = ledger.get(transactionId)
    if (row && row.successful === successful && row.failed === failed) return []
    return [
      `the ledger differs from the answer: ${JSON.stringify({ transactionId, successful, failed, row })}`,
    ]
  })
  // A doubt is settled by the ledger: what it does not know was not stored.
  const wrongDoubts = model.doubts.flatMap(({ transactionId, tokens }) =>
    !ledger.has(transactionId) && tokens.some((token) => stored.has(token))
      ? [`in doubt under ${transactionId}, which the ledger does not have, and stored`]
      : [],
  )
  const queued = [...ledger]
    .filter(([, { state }]) => state === "queued")
    .map(([id]) => `still queued: ${id}`)
  return [...wrongCounts, ...wrongDoubts, ...queued]
}

function keyDifferences({ rows }: Tables): string[] {
  const keyed = rows.filter(({ dedupe_key }) => dedupe_key !== null)
  return [...Map.groupBy(keyed, ({ dedupe_key }) => dedupe_key)].flatMap(([key, holders]) =>
    holders.length > 1 ? [`${holders.length} rows hold the dedupe key ${key}`] : [],
  )
}

function slackDifferences(model: Model, { rows }: Tables): string[] {
  const byKey = Map.groupBy(
    rows.filter(({ dedupe_key }) => dedupe_key?.startsWith("slack:")),
    ({ dedupe_key }) => dedupe_key ?? "",
  )
  return model.slack.flatMap((message) => {
    const key = [...byKey.keys()].find((one) => one.endsWith(`${message.channel}/${message.ts}`))
    const [row] = byKey.get(key ?? "") ?? []
    if (message.isOpen) return []
    if (message.isDeleted) return row ? [`deleted in Slack and stored: ${JSON.stringify(message)}`] : []
    if (row?.token === message.newest?.text) return []
    return [`Slack's newest version is not stored: ${JSON.stringify({ message, row })}`]
  })
}

function feedDifferences({ fed }: Model, { rows }: Tables): string[] {
  const seen = new Set(fed)
  const doubled = fed.length - seen.size
  return [
    ...(doubled > 0 ? [`the feed delivered ${doubled} signals twice`] : []),
    ...rows.flatMap(({ id, token }) => (seen.has(id) ? [] : [`not in the feed: ${id} ${token}`])),
  ]
}
