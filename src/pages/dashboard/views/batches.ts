import type { BatchRecord, Failure } from "../../../signals/responses.ts"
import { type BatchPage, type DeadLetterPage, get } from "../api.ts"
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
    const page = await get<BatchPage>(`/api/batches?${query}`, cancelled)
    const panel = make("section", { class: "card" })
    table<BatchRecord>(panel, {
      label: "Batches",
      none: "No batches.",
      hook: (batch) => ["data-batch", batch.transaction_id],
      columns: [
        { title: "Time", cell: (batch) => link(linkTo(`batches/${batch.transaction_id}`), time(batch.created_at)) },
        { title: "State", cell: (batch) => batch.state },
        { title: "Caller", cell: (batch) => make("span", { class: "name" }, batch.caller) },
        { title: "Signals", numeric: true, cell: (batch) => count(batch.total_count) },
        { title: "Stored", numeric: true, cell: (batch) => count(batch.successful_count) },
        { title: "Failed", numeric: true, cell: (batch) => count(batch.failed_count) },
      ],
    }).show(page.batches)
    return [panel, pageLinks("batches", params, page.next_cursor)]
  },
})

/** What the ledger says of one batch. */
export const batchView = (id: string): View => ({
  title: "Batch",
  async build(cancelled) {
    const batch = await get<BatchRecord>(`/api/batches/${id}`, cancelled)
    const { dead_letters } = await get<DeadLetterPage>(`/api/dead-letters?transaction_id=${id}`, cancelled)
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
        make("li", {}, link(linkTo(`dead-letters/${letter.id}`), `#${letter.index}`), ` ${letter.reason}`),
      ),
    )
    return [
      card("Batch", shown),
      ...(batch.failures.length > 0 ? failures(batch.failures) : []),
      ...(dead_letters.length > 0 ? [card("Dead letters", letters)] : []),
    ]
  },
})

const codeOf = (failure: Failure) => ("code" in failure && typeof failure.code === "string" ? failure.code : NONE)

/** The failures by their code, and the failures of each. */
function failures(all: readonly Failure[]): Node[] {
  const byCode = [...Map.groupBy(all, codeOf)].sort(([, one], [, other]) => other.length - one.length)
  return byCode.map(([code, failed]) => {
    const panel = card(`${code === NONE ? "Failures" : code} (${count(failed.length)})`)
    table<Failure>(panel, {
      label: `Failures ${code}`,
      none: "",
      hook: ({ index }) => ["data-failure", String(index)],
      columns: [
        { title: "Index", numeric: true, cell: ({ index }) => String(index) },
        { title: "Error", cell: ({ error }) => make("span", { class: "sentence" }, error) },
      ],
    }).show(failed.slice(0, SHOWN_FAILURES))
    if (failed.length > SHOWN_FAILURES) panel.append(`and ${count(failed.length - SHOWN_FAILURES)} more`)
    return panel
  })
}

/** Of one code. */
const SHOWN_FAILURES = 500
