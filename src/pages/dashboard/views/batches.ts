import type { BatchRecord, Failure } from "../../../signals/responses.ts"
import { type BatchPage, type DeadLetterPage, get } from "../api.ts"
import { codeMeanings, explained, type Meaning } from "../codes.ts"
import { make } from "../dom.ts"
import { count, NONE } from "../format.ts"
import { linkTo, type View } from "../router.ts"
import { table } from "../table.ts"
import { card, facts, link, pageLinks, time } from "./parts.ts"

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
    const panel = make("section", { class: "card" })
    table<BatchRecord>(panel, {
      label: "Batches",
      none: !filtered
        ? "No batches."
        : page.next_cursor === null
          ? "No such batch."
          : "None yet; older ones may be.",
      hook: (batch) => ["data-batch", batch.transaction_id],
      columns: [
        {
          title: "Time",
          cell: (batch) => link(linkTo(`batches/${batch.transaction_id}`), time(batch.created_at)),
        },
        { title: "State", cell: (batch) => batch.state },
        { title: "Caller", cell: (batch) => make("span", { class: "name" }, batch.caller) },
        { title: "Signals", numeric: true, cell: (batch) => count(batch.total_count) },
        { title: "Stored", numeric: true, cell: (batch) => count(batch.successful_count) },
        { title: "Failed", numeric: true, cell: (batch) => count(batch.failed_count) },
      ],
    }).show(page.batches)
    return [filters(params, code, meanings), panel, pageLinks("batches", params, page.next_cursor)]
  },
})

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

/** What the ledger says of one batch. */
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
      ["State", batch.state],
      ["Arrived", time(batch.created_at)],
      ["Caller", batch.caller],
      ["Idempotency key", batch.idempotency_key],
      ["Signals", count(batch.total_count)],
      ["Stored", count(batch.successful_count)],
      ["Failed", count(batch.failed_count)],
      ["Reason", batch.reason],
    ])
    const letters = make(
      "ul",
      {},
      ...dead_letters.map((letter) =>
        make(
          "li",
          {},
          link(linkTo(`dead-letters/${letter.id}`), `#${letter.index}`),
          ` ${letter.reason} (${letter.state})`,
        ),
      ),
    )
    if (next_cursor !== null)
      letters.append(
        make("li", {}, link(linkTo("dead-letters", { transaction_id: id }), "all of this batch")),
      )
    return [
      card("Batch", shown),
      ...failures(batch.failures, {
        meanings,
        letters: new Map(dead_letters.map((letter) => [letter.index, letter.id])),
      }),
      ...(dead_letters.length > 0 ? [card("Dead letters", letters)] : []),
    ]
  },
})

const codeOf = (failure: Failure) =>
  "code" in failure && typeof failure.code === "string" ? failure.code : NONE

interface Explanations {
  meanings: ReadonlyMap<string, Meaning>
  /** The dead letter of each index that has one. */
  letters: ReadonlyMap<number, number>
}

/** The failures by their code, and the failures of each. One that is kept as a dead letter links to it. */
function failures(all: readonly Failure[], { meanings, letters }: Explanations): Node[] {
  const place = ({ index }: Failure): Node | string => {
    const letter = letters.get(index)
    return letter === undefined ? String(index) : link(linkTo(`dead-letters/${letter}`), String(index))
  }
  const byCode = [...Map.groupBy(all, codeOf)].sort(([, one], [, other]) => other.length - one.length)
  return byCode.map(([code, failed]) => {
    const meaning = meanings.get(code)
    const panel = card(`${code === NONE ? "Failures" : code} (${count(failed.length)})`)
    if (meaning) panel.append(make("p", { class: "explained" }, explained(meaning)))
    table<Failure>(panel, {
      label: `Failures ${code}`,
      none: "",
      hook: ({ index }) => ["data-failure", String(index)],
      columns: [
        { title: "Index", cell: place },
        { title: "Error", cell: ({ error }) => make("span", { class: "sentence" }, error) },
      ],
    }).show(failed.slice(0, SHOWN_FAILURES))
    if (failed.length > SHOWN_FAILURES) panel.append(`and ${count(failed.length - SHOWN_FAILURES)} more`)
    return panel
  })
}

/** Of one code. */
const SHOWN_FAILURES = 500
