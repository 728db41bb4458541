import type { SignalWithScores, StoredScore } from "../../../signals/responses.ts"
import { askText } from "../base/api.ts"
import { NONE, points } from "../base/format.ts"
import { members } from "../base/json-text.ts"
import { block, card, exactTime, facts, jsonBlock, link } from "../base/parts.ts"
import { linkTo, type View } from "../base/router.ts"
import { table } from "../base/table.ts"

/** Every stored field of one signal. */
export const signalView = (id: string): View => ({
  title: `Signal ${id}`,
  async build(cancelled) {
    const text = await askText(`/api/signals/${id}`, cancelled)
    const signal = JSON.parse(text) as SignalWithScores
    const { context_window_id, signal_source, user_id, agent_id, transaction_id } = signal
    const shown = facts([
      ["Time", exactTime(signal.time)],
      ["Received", exactTime(signal.received_at)],
      ["Edited", signal.edited_at === null ? null : exactTime(signal.edited_at)],
      ["Conversation", link(linkTo("signals", { context_window_id }), context_window_id)],
      ["Source", link(linkTo("signals", { signal_source }), signal_source)],
      ["User", user_id === null ? null : link(linkTo("signals", { user_id }), user_id)],
      ["Agent", agent_id === null ? null : link(linkTo("signals", { agent_id }), agent_id)],
      ["Score", points(signal.signal_score)],
      ["Emotional tone", signal.emotional_tone === null ? null : points(signal.emotional_tone)],
      ["Escalated", signal.escalate_flag === 1 ? "yes" : "no"],
      ["Dedupe key", signal.dedupe_key],
      ["Vector", signal.signal_vector],
      ["Relationship", signal.relationship_context],
      ["Diagnostic notes", signal.diagnostic_notes],
      ["Batch", link(linkTo(`batches/${transaction_id}`), transaction_id)],
    ])
    // From the text of the answer, which has every digit.
    const payload = members(text).get("payload")
    return [
      card("Fields", shown),
      card("Content", signal.raw_content === null ? NONE : block("Content", signal.raw_content)),
      card("Payload", payload === undefined || payload === "null" ? NONE : jsonBlock("Payload", payload)),
      ...(signal.scores.length > 0 ? [history(signal.scores)] : []),
    ]
  },
})

const pointsOr = (value: number | null) => (value === null ? NONE : points(value))

/** The scores that came after the signal, newest first. */
function history(scores: StoredScore[]): HTMLElement {
  const panel = card("Late scores")
  table<StoredScore>(panel, {
    label: "Late scores",
    none: "",
    hook: ({ scored_at, transaction_id }) => ["data-score", `${scored_at} ${transaction_id}`],
    columns: [
      { title: "Scored", cell: ({ scored_at }) => exactTime(scored_at) },
      { title: "Scorer", cell: ({ scorer }) => scorer ?? NONE },
      { title: "Score", numeric: true, cell: ({ signal_score }) => pointsOr(signal_score) },
      { title: "Emotional tone", numeric: true, cell: ({ emotional_tone }) => pointsOr(emotional_tone) },
      {
        title: "Escalated",
        cell: ({ escalate_flag: flag }) => (flag === null ? NONE : flag === 1 ? "yes" : "no"),
      },
      {
        title: "Batch",
        cell: ({ transaction_id: id }) => link(linkTo(`batches/${id}`), `batch ${id.slice(-6)}`),
      },
    ],
  }).show(scores)
  return panel
}
