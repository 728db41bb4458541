import type { BatchRecord, Failure } from "../../../signals/responses.ts"
import { type BatchPage, type DeadLetterPage, get } from "../base/api.ts"
import { codeMeanings, explained, type Meaning } from "../base/codes.ts"
import { make } from "../base/dom.ts"
import { firstBatch } from "../base/first-batch.ts"
import { count, NONE, timeOfId } from "../base/format.ts"
import { card, exactTime, facts, link, pageLinks, timeLink } from "../base/parts.ts"
import { linkTo, type View } from "../base/router.ts"
import { table } from "../base/table.ts"

/** The ledger, newest first. */
export const batchesView = (params: URLSearchParams): View => ({
  title: "Batches",
  async build(cancelled) {
    const query = new URLSearchParams({ limit: "50", ...Object.fromEntries(params) })
    const [page, meanings] = await Promise.all([
      get<BatchPage>(`/api/batches?${query}`, cancelled),
      codeMeanings(),
    ])
    const code = params.get("failure_code")
    const filtered = code !== null || params.get("failed") !== null
    if (page.batches.length === 0 && !filtered && !params.has("cursor")) return [firstBatch("No batches yet")]
    const panel = make("section", { class: "card" })
    table<BatchRecord>(panel, {
      label: "Batches",
      none:
        page.next_cursor === null
          ? "No batch has such a failure."
          : "No batch of this page has such a failure. Older ones may: see the next page.",
      hook: (batch) => ["data-batch", batch.transaction_id],
      columns: [
        { title: "Received", cell: batchLink },
        { title: "State", cell: stateInWords },
        { title: "Caller", cell: (batch) => make("span", { class: "name" }, batch.caller) },
        { title: "Sent", numeric: true, cell: sentInWords },
        { title: "Stored", numeric: true, cell: (batch) => count(batch.successful_count) },
        { title: "Failed", numeric: true, cell: (batch) => count(batch.failed_count) },
      ],
    }).show(page.batches)
    return [filters(params, code, meanings), panel, pageLinks("batches", params, page.next_cursor)]
  },
})

/**
 * A batch by the time of its id, by which the list is sorted. A queued batch is stored later than it came.
 */
export const batchLink = ({ transaction_id }: BatchRecord): HTMLElement =>
  timeLink(linkTo(`batches/${transaction_id}`), timeOfId(transaction_id), `batch ${transaction_id.slice(-6)}`)

/** What a batch has: signals, unless it says scores. */
const sentInWords = ({ kind, total_count }: BatchRecord): string =>
  `${count(total_count)} ${kind ?? "signals"}`

/** The state of a batch in words. In the ledger, a batch of which every signal failed is `stored` too. */
function stateInWords({ state, total_count, failed_count }: BatchRecord): string {
  if (state === "queued") return "waits in the queue"
  if (state === "failed" || (failed_count > 0 && failed_count === total_count)) return "nothing stored"
  return failed_count > 0 ? "partly stored" : "stored"
}

/** All batches, those with a failure, or those with a failure of one code. */
function filters(
  params: URLSearchParams,
  code: string | null,
  meanings: ReadonlyMap<string, Meaning>,
): HTMLElement {
  const failed = code === null && params.get("failed") !== null
  const tabs: [label: string, href: string, current: boolean][] = [
    ["all", linkTo("batches"), code === null && !failed],
    ["with failures", linkTo("batches", { failed: "true" }), failed],
  ]
  if (code !== null) tabs.push([code, linkTo("batches", { failure_code: code }), true])
  const links = tabs.map(([label, href, current]) => {
    const one = link(href, label)
    if (current) one.setAttribute("aria-current", "true")
    return one
  })
  const meaning = meanings.get(code ?? "")
  return make(
    "div",
    {},
    make("nav", { class: "tabs", "aria-label": "Which batches" }, ...links),
    ...(meaning ? [make("p", { class: "explained" }, explained(meaning))] : []),
  )
}

/** One batch of the ledger. */
export const batchView = (id: string): View => ({
  title: "Batch",
  async build(cancelled) {
    const [batch, { dead_letters, next_cursor }, meanings] = await Promise.all([
      get<BatchRecord>(`/api/batches/${id}`, cancelled),
      get<DeadLetterPage>(`/api/dead-letters?transaction_id=${id}`, cancelled),
      codeMeanings(),
    ])
    const shown = facts([
      ["Transaction", batch.transaction_id],
      ["State", stateInWords(batch)],
      ["Received", exactTime(timeOfId(batch.transaction_id))],
      ["In the ledger", exactTime(batch.created_at)],
      ["Caller", batch.caller],
      ["Idempotency key", batch.idempotency_key],
      ["Sent", sentInWords(batch)],
      ["Stored", count(batch.successful_count)],
      ["Failed", count(batch.failed_count)],
      ["Waited for their signals", batch.waiting_count && count(batch.waiting_count)],
      ["Reason", batch.reason],
    ])
    const deadLetters = make(
      "ul",
      {},
      ...dead_letters.map(({ id, index, reason, state }) =>
        make("li", {}, link(linkTo(`dead-letters/${id}`), `#${index}`), ` ${reason} (${state})`),
      ),
    )
    if (next_cursor !== null)
      deadLetters.append(
        make("li", {}, link(linkTo("dead-letters", { transaction_id: id }), "all of this batch")),
      )
    return [
      card("Result", shown),
      ...failures(batch.failures, {
        meanings,
        deadLetters: new Map(dead_letters.map(({ index, id }) => [index, id])),
      }),
      ...(dead_letters.length > 0 ? [card("Dead letters", deadLetters)] : []),
    ]
  },
})

const codeOf = (failure: Failure) =>
  "code" in failure && typeof failure.code === "string" ? failure.code : NONE

interface Explanations {
  meanings: ReadonlyMap<string, Meaning>
  /** The dead letter of each index that has one. */
  deadLetters: ReadonlyMap<number, number>
}

/** The failures by their code, and the failures of each. One that is kept as a dead letter links to it. */
function failures(all: readonly Failure[], { meanings, deadLetters }: Explanations): Node[] {
  const position = ({ index }: Failure): Node | string => {
    const deadLetter = deadLetters.get(index)
    return deadLetter === undefined
      ? String(index)
      : link(linkTo(`dead-letters/${deadLetter}`), String(index))
  }
  const byCode = [...Map.groupBy(all, codeOf)].sort(([, a], [, b]) => b.length - a.length)
  return byCode.map(([code, failed]) => {
    const meaning = meanings.get(code)
    const panel = card(`${code === NONE ? "Failures" : code} (${count(failed.length)})`)
    if (meaning) panel.append(make("p", { class: "explained" }, explained(meaning)))
    table<Failure>(panel, {
      label: `Failures ${code}`,
      none: "",
      hook: ({ index }) => ["data-failure", String(index)],
      columns: [
        { title: "Index", cell: position },
        { title: "Error", cell: ({ error }) => make("span", { class: "sentence" }, error) },
      ],
    }).show(failed.slice(0, SHOWN_FAILURES))
    if (failed.length > SHOWN_FAILURES) panel.append(`and ${count(failed.length - SHOWN_FAILURES)} more`)
    return panel
  })
}

/** Of one code. */
const SHOWN_FAILURES = 500
