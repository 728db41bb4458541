import type { DeadLetterRecord } from "../../../signals/responses.ts"
import { get, type ReplayAnswer, send } from "../base/api.ts"
import { make } from "../base/dom.ts"
import { action, block, card, exactTime, facts, jsonBlock, link } from "../base/parts.ts"
import { linkTo, type ShowAgain, type View } from "../base/router.ts"

/** One dead letter with its record, and what can be done with it. */
export const deadLetterView = (id: string, again: ShowAgain): View => ({
  title: `Dead letter ${id}`,
  async build(cancelled) {
    const deadLetter = await get<DeadLetterRecord>(`/api/dead-letters/${id}`, cancelled)
    const { transaction_id, replay_transaction_id, state } = deadLetter
    const shown = facts([
      ["State", state],
      ["Reason", deadLetter.reason],
      ["Code", deadLetter.code],
      ["Field", deadLetter.field ?? null],
      ["Retryable", deadLetter.retryable ? "yes" : "no"],
      ["Received", exactTime(deadLetter.created_at)],
      ["Source", deadLetter.source],
      ["Caller", deadLetter.caller],
      ["Batch", link(linkTo(`batches/${transaction_id}`), transaction_id)],
      ["Position in the batch", String(deadLetter.index)],
      [
        "Stored as batch",
        state === "replayed" ? link(linkTo(`batches/${replay_transaction_id}`), replay_transaction_id) : null,
      ],
    ])
    // A truncated record is not JSON.
    const record = deadLetter.truncated
      ? block("Record, its beginning", deadLetter.record)
      : jsonBlock("Record", deadLetter.record)
    return [card("Fields", shown), ...actions(deadLetter, again), card("Record", record)]
  },
})

function actions({ id, state, truncated }: DeadLetterRecord, again: ShowAgain): Node[] {
  const replay = action("Replay", async (say) => {
    const answer = await send<ReplayAnswer>(
      "POST",
      `/api/dead-letters/${id}/replay`,
      new AbortController().signal,
    )
    if (answer.replayed) again("The dead letter is replayed.")
    else say(`It still cannot be stored: ${answer.reason ?? "no reason given"}`)
  })
  const discard = action("Discard", async () => {
    if (!confirm("Discard this dead letter? It stays listed as discarded, and can still be replayed.")) return
    await send("DELETE", `/api/dead-letters/${id}`, new AbortController().signal)
    again("The dead letter is discarded.")
  })
  const offered = [
    ...(state !== "replayed" && !truncated ? [replay] : []),
    ...(state === "waiting" ? [discard] : []),
  ]
  return offered.length > 0 ? [make("p", { class: "actions" }, ...offered)] : []
}
