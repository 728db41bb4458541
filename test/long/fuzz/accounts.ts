import { checkFile } from "../../setup/history/check.ts"
import { noteExchange } from "../../setup/history/fetch.ts"
import { historyPath, type Recorder, startHistory } from "../../setup/history/record.ts"
import { recordTables } from "../../setup/history/tables.ts"
import type { Answered, Sent } from "./service.ts"

/** What an answer says is in the table now. */
interface Claim {
  /** Signals of the batch: the fewest and the most that its answer allows. */
  signals: [least: number, most: number]
  deadLetters: number
  sent: Sent
  answer: string
}

interface Body {
  transaction_id?: string | null
  successful_count?: number
  results?: { success: boolean; duplicate?: true }[]
  accepted_count?: number
  duplicate_count?: number
  failed_count?: number
  duplicate?: true
}

interface Stored {
  transaction_id: string
  signals: number
  deadLetters: number
  ledger: number
}

/** Sets the answers of many requests against what the database holds. */
export class Accounts {
  readonly #query: <Row>(text: string, values?: unknown[]) => Promise<Row[]>
  readonly #claims = new Map<string, Claim>()
  /** Single signals whose dedupe key was taken: their answer does not name their batch. */
  #duplicates = 0
  #history: Recorder | undefined

  constructor(query: <Row>(text: string, values?: unknown[]) => Promise<Row[]>) {
    this.#query = query
  }

  async begin(): Promise<void> {
    await this.#query("truncate signals, batches, dedupe_keys, dead_letters")
    this.#claims.clear()
    this.#duplicates = 0
    await this.#history?.close()
    this.#history = await startHistory(historyPath("fuzz"))
  }

  /** Notes a request in the history before it leaves, and returns what notes its answer there. */
  leaves(sent: Sent): (answered: Answered) => void {
    const note = noteExchange(this.#history, "fuzz", { ...sent, isHostile: true })
    return ({ status, text }) => note(status, text)
  }

  note(sent: Sent, { status, text }: Answered): void {
    if (status >= 300 || sent.method !== "POST") return
    const body = JSON.parse(text) as Body
    if (body.duplicate) this.#duplicates++
    if (typeof body.transaction_id !== "string") return
    const claim = { ...claimed(body), sent, answer: text }
    const known = this.#claims.get(body.transaction_id)
    // A replay may say less of the same batch than its first answer.
    const [least, most] = claim.signals
    if (known) known.signals = [Math.max(least, known.signals[0]), Math.min(most, known.signals[1])]
    else this.#claims.set(body.transaction_id, claim)
  }

  /** @throws {Error} what was acknowledged is not what is stored */
  async settle(): Promise<void> {
    const stored = await this.#query<Stored>(`
      select coalesce(s.transaction_id, l.transaction_id, b.transaction_id)::text as transaction_id,
             coalesce(s.count, 0)::int4 as signals, coalesce(l.count, 0)::int4 as "deadLetters", (b.transaction_id is not null)::int4 as ledger
        from (select transaction_id, count(*) from signals group by 1) s
        full join (select transaction_id, count(*) from dead_letters group by 1) l using (transaction_id)
        full join batches b on b.transaction_id = coalesce(s.transaction_id, l.transaction_id)`)
    const unclaimed: string[] = []
    for (const { transaction_id, signals, deadLetters, ledger } of stored) {
      const claim = this.#claims.get(transaction_id)
      if (!claim) {
        unclaimed.push(transaction_id)
        if (signals > 0 || deadLetters > 0)
          throw new Error(
            `${signals} signals and ${deadLetters} dead letters of ${transaction_id} were never acknowledged`,
          )
        continue
      }
      this.#claims.delete(transaction_id)
      const [least, most] = claim.signals
      if (signals < least || signals > most || deadLetters !== claim.deadLetters || ledger !== 1)
        throw new Error(
          `${transaction_id} has ${signals} signals, ${deadLetters} dead letters and ${ledger} ledger row, not ${claim.signals.join(" to ")} and ${claim.deadLetters}: ${shown(claim)}`,
        )
    }
    const [missing] = this.#claims.values()
    if (missing) throw new Error(`what was acknowledged is not stored: ${shown(missing)}`)
    if (unclaimed.length > this.#duplicates)
      throw new Error(
        `${unclaimed.length} ledger rows were never acknowledged, and ${this.#duplicates} duplicates were: ${unclaimed[0]}`,
      )
    if (!this.#history) return
    await recordTables(this.#history, this.#query)
    await this.#history.close()
    const [broken] = await checkFile(this.#history.path)
    if (broken !== undefined) throw new Error(`the history ${this.#history.path} breaks a rule: ${broken}`)
  }
}

function claimed({
  results,
  successful_count = 0,
  accepted_count,
  duplicate_count = 0,
  failed_count = 0,
}: Body) {
  if (accepted_count !== undefined) {
    const signals = accepted_count - duplicate_count
    return { signals: [signals, signals] as [number, number], deadLetters: failed_count }
  }
  // The stored row of a single signal.
  if (results === undefined) return { signals: [1, 1] as [number, number], deadLetters: 0 }
  const told = results.filter(({ success, duplicate }) => success && !duplicate).length
  // `Prefer: return=minimal` leaves out what was stored.
  const most = results.some(({ success }) => success) ? told : successful_count
  return { signals: [told, most] as [number, number], deadLetters: 0 }
}

const shown = ({ sent, answer }: Claim) =>
  `${JSON.stringify({ ...sent, body: Buffer.from(sent.body ?? []).toString() }).slice(0, 2000)} was answered ${answer.slice(0, 1000)}`
