import type { DeliveryAttempt, SubscriptionRecord } from "../../../subscriptions/schema.ts"
import { get, KeyNeeded, NotAnswered, send } from "../base/api.ts"
import { make } from "../base/dom.ts"
import { count, duration, NONE } from "../base/format.ts"
import { action, card, time } from "../base/parts.ts"
import type { ShowAgain, View } from "../base/router.ts"
import { table } from "../base/table.ts"

/** Who is called about new signals, how far each has come, and what can be done about it. */
export const subscriptionsView = (again: ShowAgain): View => ({
  title: "Subscriptions",
  async build(cancelled) {
    const answer = await get<{ subscriptions: SubscriptionRecord[] }>("/api/subscriptions", cancelled).catch(
      (error: unknown) => {
        const sentence = whyNone(error)
        if (sentence === undefined) throw error
        return sentence
      },
    )
    if (typeof answer === "string") return [make("p", { class: "none" }, answer)]
    const panel = card("Subscriptions")
    table<SubscriptionRecord>(panel, {
      label: "Subscriptions",
      none: "Nobody is called about new signals. Make a subscription with: signals subscriptions add",
      hook: ({ id }) => ["data-subscription", id],
      columns: [
        { title: "Name", cell: ({ name }) => make("span", { class: "name" }, name) },
        { title: "To", cell: ({ url }) => url ?? "unknown: SUBSCRIPTION_SECRET was changed" },
        { title: "Of", cell: ({ filter }) => filterText(filter) },
        { title: "State", cell: ({ state }) => state },
        {
          title: "Behind",
          numeric: true,
          cell: ({ lag_seconds }) => (lag_seconds === 0 ? NONE : duration(lag_seconds * 1000)),
        },
        { title: "Delivered", numeric: true, cell: ({ delivered_signals }) => count(delivered_signals) },
        { title: "Last answers", cell: ({ last_answers }) => answers(last_answers) },
        {
          title: "Next attempt",
          cell: ({ next_attempt_at }) => (next_attempt_at === null ? NONE : time(next_attempt_at)),
        },
        { title: "Actions", cell: (subscription) => actions(subscription, again) },
      ],
    }).show(answer.subscriptions)
    return [panel]
  },
})

/** Why there is nothing to show, as a sentence; undefined for another error. */
function whyNone(error: unknown): string | undefined {
  if (error instanceof KeyNeeded && error.key !== null)
    return "Subscriptions are shown to keys with the scope admin."
  if (error instanceof NotAnswered && error.code === "not_configured")
    return "Subscriptions need the setting SUBSCRIPTION_SECRET."
}

const filterText = (filter: SubscriptionRecord["filter"]): string =>
  Object.entries(filter)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ") || "every signal"

/** The newest answer; behind it, when opened, the others. */
function answers(all: readonly DeliveryAttempt[]): Node | string {
  const [newest, ...others] = all.map(answerLine)
  if (!newest) return "not called yet"
  if (others.length === 0) return newest
  const list = others.map((line) => make("li", {}, line))
  return make("details", {}, make("summary", {}, newest), make("ul", {}, ...list))
}

const answerLine = ({ at, error, status, signals, ms }: DeliveryAttempt): HTMLElement =>
  make(
    "span",
    {},
    time(at),
    `: ${error ?? `HTTP ${status}`}, ${count(signals)} ${signals === 1 ? "signal" : "signals"}, ${duration(ms)}`,
  )

function actions({ id, name, state, failed_attempts }: SubscriptionRecord, again: ShowAgain): HTMLElement {
  const path = `/api/subscriptions/${id}`
  const change = <Answer>(method: "POST" | "PATCH", path: string, body: object) =>
    send<Answer>(method, path, new AbortController().signal, body)
  const test = action("Test", async (say) => {
    const { error, ms } = await change<DeliveryAttempt>("POST", `${path}/test`, {})
    say(error === null ? `Accepted after ${ms} ms.` : `Not accepted: ${error}.`)
  })
  const set = (label: string, state: "active" | "paused", said: string) =>
    action(label, async () => {
      await change("PATCH", path, { state })
      again(`${name} ${said}.`)
    })
  const others =
    state === "active"
      ? [
          ...(failed_attempts > 0 ? [set("Retry now", "active", "is tried again")] : []),
          set("Pause", "paused", "is paused"),
        ]
      : [set("Resume", "active", "is resumed")]
  return make("span", { class: "actions" }, test, ...others)
}
