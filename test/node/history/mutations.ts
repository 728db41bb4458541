import type { Answer, Call, Invoke, LedgerRow, Line, Row } from "../../setup/history/lines.ts"

/**
 * Changes of a good history, each of which breaks a promise. A change gets a copy of the lines, and returns
 * false when this history has nothing to change so.
 */
export type Mutation = (lines: Line[]) => boolean

const invokes = (lines: readonly Line[]) => lines.filter((line): line is Invoke => line.type === "invoke")
const answers = (lines: readonly Line[]) => lines.filter((line): line is Answer => line.type === "answer")
const rows = (lines: readonly Line[]) => lines.filter((line): line is Row => line.type === "row")
const entered = (lines: readonly Line[]) => lines.filter((line): line is LedgerRow => line.type === "entered")
const calls = (lines: readonly Line[]) => lines.filter((line): line is Call => line.type === "call")

function remove(lines: Line[], ...unwanted: (Line | undefined)[]): boolean {
  for (const one of unwanted) {
    const index = one === undefined ? -1 : lines.indexOf(one)
    if (index < 0) return false
    lines.splice(index, 1)
    const end = lines.at(-1)
    if (end?.type === "end" && one?.type === "row") end.rows--
    if (end?.type === "end" && one?.type === "entered") end.entered--
  }
  return unwanted.length > 0
}

function add(lines: Line[], line: Row | LedgerRow | Call | Invoke | Answer): boolean {
  const end = lines.at(-1)
  lines.splice(-1, 0, line)
  if (end?.type === "end" && line.type === "row") end.rows++
  if (end?.type === "end" && line.type === "entered") end.entered++
  return true
}

const requestOf = (lines: readonly Line[], { n }: Answer) => invokes(lines).find((line) => line.n === n)

/** Answers with a result of this kind, each with its request. */
const stored = (lines: readonly Line[]) =>
  answers(lines).flatMap((answer) => {
    const request = requestOf(lines, answer)
    return request && answer.results?.some(([is]) => is === "stored") ? [{ answer, request }] : []
  })

/** The subjects of all erasures, done or not. */
const subjectsOf = (lines: readonly Line[]) =>
  new Set(invokes(lines).flatMap(({ subject }) => [subject?.value, ...(subject?.ids ?? [])]))

/** A row that an answer names, without a dedupe key, and out of every erasure's reach. */
const rowOf = (lines: readonly Line[]) => {
  const subjects = subjectsOf(lines)
  const isFree = ({ id, user, conversation, dedupeKey }: Row) =>
    dedupeKey === undefined && ![id, user ?? "", conversation].some((subject) => subjects.has(subject))
  return stored(lines).flatMap(({ answer, request }) =>
    (answer.results ?? []).flatMap(([is, id], index) => {
      const row = rows(lines).find((one) => is === "stored" && one.id === id)
      return row && isFree(row) ? [{ answer, request, index, row }] : []
    }),
  )[0]
}

const nextNumber = (lines: readonly Line[]) => Math.max(...invokes(lines).map(({ n }) => n)) + 1
const lastTime = (lines: readonly Line[]) => Math.max(...answers(lines).map(({ at }) => at))

/** A read after everything else. */
function readAtEnd(
  lines: Line[],
  request: Pick<Invoke, "operation"> & Partial<Invoke>,
  answer: Pick<Answer, "status"> & Partial<Answer>,
): boolean {
  const n = nextNumber(lines)
  const at = lastTime(lines) + 1
  add(lines, { type: "invoke", n, at, client: "mutation", ...request })
  return add(lines, { type: "answer", n, at: at + 1, ...answer })
}

const feedPages = (lines: readonly Line[]) =>
  answers(lines).filter(
    (answer) => requestOf(lines, answer)?.operation === "feed" && (answer.seen?.length ?? 0) > 0,
  )

/** Signals of an answer whose erasure is done: the id is no longer in the table. */
const erasedSignal = (lines: readonly Line[]) => {
  const done = answers(lines).find(({ state }) => state === "done")
  const request =
    done && invokes(lines).find((one) => one.operation === "erasure" && one.hash === done.transaction)
  const { subject } = request ?? {}
  if (!done || !request || !subject) return undefined
  for (const { answer, request: sent } of stored(lines)) {
    if (answer.at >= request.at) continue
    for (const [index, [is, id]] of (answer.results ?? []).entries()) {
      const signal = sent.signals?.[index]
      const isSubject = signal?.user === subject.value || signal?.conversation === subject.value
      if (is === "stored" && signal && isSubject) return { id: id ?? 0, signal, done, answer }
    }
  }
  return undefined
}

/** The mutations of each rule, by the name of the rule. */
export const MUTATIONS: Record<string, Record<string, Mutation>> = {
  "the history is whole": {
    "the end is cut off": (lines) => remove(lines, lines.at(-1)),
    "the end names another number of rows"(lines) {
      const end = lines.at(-1)
      if (end?.type !== "end") return false
      end.rows++
      return true
    },
  },
  "stored once, or nothing, or all of a doubt": {
    "a stored signal is gone": (lines) => remove(lines, rowOf(lines)?.row),
    "a signal is stored twice"(lines) {
      const row = rowOf(lines)?.row
      return row !== undefined && add(lines, { ...row, id: 1_000_000 })
    },
    "a row has another text than was sent"(lines) {
      const row = rowOf(lines)?.row
      if (row) row.hash = "another"
      return row !== undefined
    },
    "a refused batch is stored"(lines) {
      const row = rowOf(lines)?.row
      if (!row) return false
      const signals = [{ hash: "refused", conversation: row.conversation }]
      readAtEnd(lines, { operation: "batch", signals, hash: "refused" }, { status: 503 })
      return add(lines, { ...row, id: 1_000_000, hash: "refused" })
    },
    "a doubt is stored by half"(lines) {
      const row = rowOf(lines)?.row
      if (!row) return false
      const signals = ["half-1", "half-2"].map((hash) => ({ hash, conversation: "c-half" }))
      readAtEnd(lines, { operation: "batch", signals, hash: "half" }, { status: 0 })
      return add(lines, { ...row, id: 1_000_000, hash: "half-1", conversation: "c-half", user: "u-half" })
    },
    "an acknowledged signal of the queue is nowhere"(lines) {
      const signals = [{ hash: "lost", conversation: "c-lost" }]
      return readAtEnd(lines, { operation: "batch", signals, hash: "lost" }, { status: 202 })
    },
  },
  "the ledger never takes an answer back": {
    "a row of the ledger is gone"(lines) {
      const transaction = stored(lines)[0]?.answer.transaction
      return remove(
        lines,
        entered(lines).find((row) => row.transaction === transaction),
      )
    },
    "a count of the ledger differs"(lines) {
      const transaction = stored(lines).find(({ answer }) => answer.counts)?.answer.transaction
      const row = entered(lines).find((one) => one.transaction === transaction)
      if (row) row.successful++
      return row !== undefined
    },
    "a later read does not find the batch": (lines) =>
      readAtEnd(
        lines,
        { operation: "ledger", of: stored(lines)[0]?.answer.transaction ?? "" },
        { status: 404 },
      ),
  },
  "one answer a key": {
    "a repeated request gets another id"(lines) {
      const first = stored(lines).find(({ request }) => request.key !== undefined)
      if (!first) return false
      const { n: _, at: __, ...request } = first.request
      const { n: ___, at: ____, ...answer } = structuredClone(first.answer)
      return readAtEnd(lines, request, {
        ...answer,
        results: answer.results?.map(([is, id]) => (is === "failed" ? [is] : [is, (id ?? 0) + 1000])) ?? [],
      })
    },
    "two bodies are stored under one key"(lines) {
      const first = stored(lines).find(({ request }) => request.key !== undefined)
      if (!first) return false
      const { n: _, at: __, ...request } = first.request
      const transaction = "another"
      add(lines, { type: "entered", transaction, successful: 0, failed: 0, state: "stored" })
      const counts = [0, 0] as const
      return readAtEnd(
        lines,
        { ...request, hash: "another", signals: [] },
        { status: 200, transaction, counts },
      )
    },
    "the ledger has a key twice"(lines) {
      const row = entered(lines).find(({ key }) => key !== undefined)
      return row !== undefined && add(lines, { ...row, transaction: "twice" })
    },
  },
  "ids are unique and in order": {
    "two rows have one id"(lines) {
      const [first, second] = rows(lines)
      if (first && second) second.id = first.id
      return second !== undefined
    },
    "the ids of a batch fall"(lines) {
      const answer = answers(lines).find(
        ({ results }) =>
          results?.filter(([is]) => is === "stored").length === results?.length && (results?.length ?? 0) > 1,
      )
      if (answer?.results) answer.results = answer.results.toReversed()
      return answer !== undefined
    },
    "a later batch has smaller ids"(lines) {
      const signals = [{ hash: "late", conversation: "c-late" }]
      return readAtEnd(
        lines,
        { operation: "batch", signals, hash: "late" },
        { status: 200, results: [["stored", 0.5]] },
      )
    },
  },
  "one id a dedupe key for ever": {
    "a duplicate is answered with another id"(lines) {
      const duplicates = answers(lines).filter(({ results }) => results?.some(([is]) => is === "duplicate"))
      for (const one of duplicates)
        one.results =
          one.results?.map(([is, id]) =>
            is === "duplicate" ? [is, (id ?? 0) + 1000] : is === "failed" ? [is] : [is, id ?? 0],
          ) ?? []
      return duplicates.length > 0
    },
    "two rows hold one key"(lines) {
      const row = rows(lines).find(({ dedupeKey }) => dedupeKey !== undefined)
      return row !== undefined && add(lines, { ...row, id: 1_000_000, hash: "other" })
    },
  },
  "a stored signal is visible to the next read": {
    "a later read answers 404": (lines) =>
      readAtEnd(lines, { operation: "read", of: String(rowOf(lines)?.row.id) }, { status: 404 }),
    "a later list leaves it out"(lines) {
      const of = rowOf(lines)?.row.conversation ?? ""
      return readAtEnd(lines, { operation: "list", of }, { status: 200, seen: [], isEnd: true })
    },
    "a read shows another text"(lines) {
      const id = rowOf(lines)?.row.id ?? 0
      return readAtEnd(
        lines,
        { operation: "read", of: String(id) },
        { status: 200, seen: [{ id, hash: "other" }] },
      )
    },
  },
  "each reader of the feed sees each signal once, all in one order": {
    "a page comes twice"(lines) {
      const page = feedPages(lines)[0]
      if (page?.seen) page.seen = [...page.seen, ...page.seen]
      return page !== undefined
    },
    "a reader gets two signals in the other order"(lines) {
      const page = feedPages(lines).find(({ seen = [] }) => seen.length > 1)
      if (page?.seen) page.seen = page.seen.toReversed()
      return page !== undefined
    },
    "a reader that began at the oldest misses one"(lines) {
      const stays = new Set(rows(lines).map(({ id }) => id))
      const page = feedPages(lines).findLast(({ seen }) => seen?.some(({ id }) => stays.has(id)))
      const missed = page?.seen?.find(({ id }) => stays.has(id))
      if (page?.seen) page.seen = page.seen.filter((one) => one !== missed)
      return missed !== undefined
    },
  },
  "statistics equal a recount": {
    "the last count is too high"(lines) {
      const answer = answers(lines).findLast(({ stats }) => (stats?.length ?? 0) > 0)
      if (answer?.stats) answer.stats = answer.stats.map(([name, count]) => [name, count + 1])
      return answer !== undefined
    },
    "a count on the way misses what was stored": (lines) =>
      rowOf(lines) !== undefined && readAtEnd(lines, { operation: "stats" }, { status: 200, stats: [] }),
    "a count on the way has more than was sent": (lines) =>
      readAtEnd(lines, { operation: "stats" }, { status: 200, stats: [["c-0", 100_000]] }),
  },
  "no read has what was erased": {
    "a later read has it"(lines) {
      const erased = erasedSignal(lines)
      if (!erased) return false
      const { id, signal } = erased
      return readAtEnd(
        lines,
        { operation: "read", of: String(id) },
        { status: 200, seen: [{ id, hash: signal.hash }] },
      )
    },
    "the table has it"(lines) {
      const erased = erasedSignal(lines)
      if (!erased) return false
      const { id, signal, answer } = erased
      return add(lines, { type: "row", id, ...signal, transaction: answer.transaction ?? "" })
    },
  },
  "metrics equal the ledger": {
    "they count one more"(lines) {
      const answer = answers(lines).find(({ counted }) => counted !== undefined)
      if (answer) answer.counted = (answer.counted ?? 0) + 1
      return answer !== undefined
    },
    "a batch of the ledger is not counted": (lines) =>
      add(lines, { type: "entered", transaction: "uncounted", successful: 3, failed: 0, state: "stored" }),
  },
  "a subscription misses nothing": {
    "a call is missing"(lines) {
      const stays = new Set(rows(lines).map(({ id }) => id))
      return remove(
        lines,
        calls(lines).find(({ ids, isAccepted }) => isAccepted && ids.some((id) => stays.has(id))),
      )
    },
    "a repeated call has another body"(lines) {
      const call = calls(lines)[0]
      return call !== undefined && add(lines, { ...call, at: 1e9, until: 1e9 + 1, hash: "another" })
    },
    "two calls at once"(lines) {
      const call = calls(lines)[0]
      if (call) call.until += 1e6
      return call !== undefined && calls(lines).length > 1
    },
    "calls in another order"(lines) {
      const accepted = calls(lines).filter(({ isAccepted }) => isAccepted)
      const [first, last] = [accepted[0], accepted.at(-1)]
      if (!first || !last || first === last) return false
      ;[first.ids, last.ids] = [last.ids, first.ids]
      return true
    },
  },
}
