import type { StoredSignal } from "../../../signals/responses.ts"
import { get, type SignalPage } from "../base/api.ts"
import { make } from "../base/dom.ts"
import { firstBatch } from "../base/first-batch.ts"
import { NONE, points } from "../base/format.ts"
import { link, pageLinks, timeLink } from "../base/parts.ts"
import { linkTo, type View } from "../base/router.ts"
import { type Column, table } from "../base/table.ts"
import { type FilterField, filterForm } from "./filters.ts"

const FIELDS: readonly FilterField[] = [
  { name: "q", label: "Content contains", kind: "search" },
  { name: "context_window_id", label: "Conversation" },
  { name: "signal_source", label: "Source" },
  { name: "user_id", label: "User" },
  { name: "agent_id", label: "Agent" },
  { name: "since", label: "Since", kind: "time" },
  { name: "until", label: "Until", kind: "time" },
  { name: "min_score", label: "Score from", kind: "score" },
  { name: "max_score", label: "Score to", kind: "score" },
  { name: "payload", label: "Payload, path=value", kind: "payload" },
  { name: "escalate_flag", label: "Escalated only", kind: "flag" },
]

const CUT_AT = 160

const name = (text: string, href: string) => link(href, make("span", { class: "name" }, text))

const COLUMNS: Column<StoredSignal>[] = [
  { title: "Time", cell: ({ id, time }) => timeLink(linkTo(`signals/${id}`), time, `signal ${id}`) },
  {
    title: "Conversation",
    cell: ({ context_window_id }) => name(context_window_id, linkTo("signals", { context_window_id })),
  },
  { title: "Source", cell: ({ signal_source }) => name(signal_source, linkTo("signals", { signal_source })) },
  {
    title: "User",
    cell: ({ user_id }) => (user_id === null ? NONE : name(user_id, linkTo("signals", { user_id }))),
  },
  { title: "Score", numeric: true, cell: (signal) => points(signal.signal_score) },
  { title: "Content", cell: (signal) => (signal.raw_content === null ? NONE : cut(signal.raw_content)) },
]

function cut(text: string): HTMLElement {
  const characters = [...text.slice(0, 4 * CUT_AT)]
  return make(
    "span",
    { class: "content" },
    characters.length > CUT_AT ? `${characters.slice(0, CUT_AT).join("")}…` : text,
  )
}

/** The signals that pass the filters of the address, newest first. */
export const signalsView = (params: URLSearchParams): View => ({
  title: "Signals",
  async build(cancelled) {
    const query = new URLSearchParams({ limit: "50", ...Object.fromEntries(params) })
    const page = await get<SignalPage>(`/api/signals?${query}`, cancelled)
    if (page.signals.length === 0 && params.size === 0) return [firstBatch("No signals yet")]
    const panel = make("section", { class: "card", "data-panel": "found-signals" })
    table(panel, {
      label: "Signals",
      none:
        page.next_cursor === null
          ? "No signal matches these filters. Change them, or clear them to see all signals."
          : "No signal of this page matches these filters. Older ones may: see the next page.",
      hook: (signal) => ["data-signal", String(signal.id)],
      columns: COLUMNS,
    }).show(page.signals)
    return [filterForm("signals", FIELDS, params), panel, pageLinks("signals", params, page.next_cursor)]
  },
})
