import type { BatchRecord, ConversationStats, StoredSignal } from "../../../signals/responses.ts"
import { find, make } from "../base/dom.ts"
import { count, NONE, points } from "../base/format.ts"
import { link, time, timeLink } from "../base/parts.ts"
import { linkTo } from "../base/router.ts"
import { type Table, table } from "../base/table.ts"
import { batchLink } from "../views/batches.ts"

const CUT_AT = 120

const panel = (name: string) => find(`[data-panel="${name}"]`)

/** A text, cut after whole characters. */
function cut(text: string): HTMLElement {
  const characters = [...text.slice(0, 4 * CUT_AT)]
  const short = characters.length > CUT_AT ? `${characters.slice(0, CUT_AT).join("")}…` : text
  return make("span", { class: "content", title: text.slice(0, 2000) }, short)
}

export const signalsTable = (): Table<StoredSignal> =>
  table(panel("signals"), {
    label: "Newest signals",
    none: "No signals.",
    hook: (signal) => ["data-signal", String(signal.id)],
    columns: [
      { title: "Time", cell: ({ id, time }) => timeLink(linkTo(`signals/${id}`), time, `signal ${id}`) },
      { title: "Conversation", cell: (signal) => make("span", { class: "name" }, signal.context_window_id) },
      { title: "Source", cell: (signal) => make("span", { class: "name" }, signal.signal_source) },
      { title: "Score", numeric: true, cell: (signal) => points(signal.signal_score) },
      { title: "Content", cell: (signal) => (signal.raw_content === null ? NONE : cut(signal.raw_content)) },
    ],
  })

export const batchesTable = (): Table<BatchRecord> =>
  table(panel("batches"), {
    label: "Newest batches",
    none: "No batches.",
    hook: (batch) => ["data-batch", batch.transaction_id],
    columns: [
      { title: "Received", cell: batchLink },
      { title: "Caller", cell: (batch) => make("span", { class: "name" }, batch.caller) },
      { title: "Stored", numeric: true, cell: (batch) => count(batch.successful_count) },
      { title: "Failed", numeric: true, cell: (batch) => count(batch.failed_count) },
      { title: "Failures", cell: failures },
    ],
  })

/** The failures of a batch, collapsed: there can be thousands. */
function failures(batch: BatchRecord): Node | string {
  if (batch.failed_count === 0) return NONE
  const items = batch.failures.map(({ index, error }) =>
    make("li", {}, make("b", {}, `#${index}`), ` ${error}`),
  )
  const more = batch.failed_count - batch.failures.length
  // A batch that failed as a whole has one reason.
  if (batch.reason !== undefined) items.unshift(make("li", {}, batch.reason))
  else if (more > 0)
    items.push(make("li", {}, link(linkTo(`batches/${batch.transaction_id}`), `and ${count(more)} more`)))
  const reasons = batch.failed_count === 1 ? "1 reason" : `${count(batch.failed_count)} reasons`
  return make("details", {}, make("summary", {}, reasons), make("ul", {}, ...items))
}

export const conversationsTable = (): Table<ConversationStats> =>
  table(panel("conversations"), {
    label: "Conversations",
    none: "No conversation in this time.",
    hook: (conversation) => ["data-conversation", conversation.context_window_id],
    columns: [
      {
        title: "Conversation",
        cell: ({ context_window_id }) =>
          link(linkTo("signals", { context_window_id }), make("span", { class: "name" }, context_window_id)),
      },
      { title: "Signals", numeric: true, cell: (conversation) => count(conversation.signal_count) },
      { title: "Mean score", numeric: true, cell: (conversation) => points(conversation.avg_score) },
      { title: "Latest", cell: (conversation) => time(conversation.latest_signal) },
    ],
  })
