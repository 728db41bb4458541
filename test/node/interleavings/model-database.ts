/**
 * What becomes of a statement: whether it commits, and what its sender is told.
 */
export const STATEMENT_FATES = [
  "stored",
  "stored, answer lost",
  "stored, a page answers",
  "ended by the server",
  "no connection",
  "no partition",
] as const
export type Fate = (typeof STATEMENT_FATES)[number]

interface Statement {
  text: string
  params: (string | null)[]
  answer(response: Response | Error): void
}

type Cell = [name: string, type: number, value: string | null]

const listOf = (literal: string | null | undefined): string[] =>
  [...(literal ?? "").matchAll(/"([^"]*)"/g)].map(([, item]) => item ?? "")

const isUuid = (text: string) => /^[\da-f]{8}-[\da-f-]{27}$/.test(text)

/**
 * A small model of the database behind SQL over HTTP: the ledger and the number of rows of each batch. A
 * statement waits in `open` until its fate is decided.
 */
export class ModelDatabase {
  readonly open: Statement[] = []
  /** Rows by transaction id. */
  readonly stored = new Map<string, number>()

  readonly fetch: typeof fetch = (_, init) => {
    const { query, params } = JSON.parse(String(init?.body)) as { query: string; params: (string | null)[] }
    return new Promise((resolve, reject) => {
      this.open.push({
        text: query,
        params,
        answer: (response) => (response instanceof Error ? reject(response) : resolve(response)),
      })
    })
  }

  end(statement: Statement | undefined, fate: Fate): void {
    if (!statement) return
    this.open.splice(this.open.indexOf(statement), 1)
    const isStored = fate.startsWith("stored")
    const rows = isStored ? this.#run(statement) : []
    if (fate === "stored") statement.answer(answerOf(rows))
    else if (fate === "stored, a page answers") statement.answer(new Response("<html>", { status: 502 }))
    else if (fate === "ended by the server") statement.answer(failureOf("57P01", "terminating connection"))
    else if (fate === "no partition" && statement.text.includes("insert into"))
      statement.answer(failureOf("23514", 'no partition of relation "signals" found for row'))
    else statement.answer(new TypeError("fetch failed"))
  }

  #run({ text, params }: Statement): Cell[][] {
    if (text.includes("with delivery as")) return this.#insert(params)
    if (text.includes("transaction_read_only")) return [[["writable", 16, "t"]]]
    if (text.includes("make_signal_partitions")) return [[["made", 23, "1"]]]
    if (!/select transaction_id, failures/.test(text)) throw new Error(`the model does not know ${text}`)
    const ids = listOf(params[0]).filter((id) => this.stored.has(id))
    return ids.map((id): Cell[] => [
      ["transaction_id", 2950, id],
      ["failures", 3802, "[]"],
    ])
  }

  /** As `on conflict do nothing`: only what the ledger does not have. */
  #insert(params: readonly (string | null)[]): Cell[][] {
    const lists = params.map(listOf).filter((list) => list.length > 0 && list.every(isUuid))
    const [ids = [], owners = []] = lists
    const added = ids.filter((id) => !this.stored.has(id))
    for (const id of added) this.stored.set(id, 0)
    for (const owner of owners)
      if (added.includes(owner)) this.stored.set(owner, (this.stored.get(owner) ?? 0) + 1)
    return added.map((id): Cell[] => [
      ["transaction_id", 2950, id],
      ["received_at", 25, "2026-12-01T00:00:00.000000Z"],
      ["ids", 25, Array.from({ length: this.stored.get(id) ?? 0 }, (_, at) => at + 1).join()],
    ])
  }
}

function answerOf(rows: Cell[][]): Response {
  const fields = (rows[0] ?? []).map(([name, dataTypeID]) => ({ name, dataTypeID }))
  return Response.json({
    fields,
    rows: rows.map((row) => row.map(([, , value]) => value)),
    command: "INSERT",
    rowCount: rows.length,
    rowAsArray: true,
  })
}

const failureOf = (code: string, message: string) => Response.json({ code, message }, { status: 400 })
