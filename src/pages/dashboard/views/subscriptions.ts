import type { DeliveryAttempt, SubscriptionRecord } from "../../../subscriptions/schema.ts"
import { get, KeyNeeded, NotAnswered, send } from "../base/api.ts"
import { make } from "../base/dom.ts"
import { count, duration, moment, NONE } from "../base/format.ts"
import { action, block, card, time } from "../base/parts.ts"
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
    const made = make("div", { role: "status", "data-made-subscription": "" })
    const panel = card("Subscriptions")
    table<SubscriptionRecord>(panel, {
      label: "Subscriptions",
      none: "Nobody is called about new signals.",
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
    return [made, form(made), panel]
  },
})

/** The fields of the form for a new subscription: those of a filter by their names in the API. */
const FIELDS: readonly [name: string, label: string, attributes: Record<string, string>][] = [
  ["name", "Name", { required: "", maxlength: "100" }],
  ["url", "Address (https)", { required: "", type: "url", maxlength: "2048" }],
  ["min_score", "Score from", { type: "number", min: "0", max: "1", step: "any" }],
  ["max_score", "Score up to", { type: "number", min: "0", max: "1", step: "any" }],
  ["signal_source", "Source", { maxlength: "255" }],
  ["context_window_id", "Conversation", { maxlength: "255" }],
  ["user_id", "User", { maxlength: "1024" }],
  ["agent_id", "Agent", { maxlength: "1024" }],
]

/** Makes a subscription, and shows its secret: only this page of this tab has it. */
function form(made: HTMLElement): HTMLElement {
  const element = make("form", { class: "card filters", "data-new-subscription": "" })
  const inputs = new Map<string, HTMLInputElement>()
  for (const [name, label, attributes] of FIELDS) {
    const id = `subscription-${name}`
    const input = make("input", { id, autocomplete: "off", spellcheck: "false", ...attributes })
    inputs.set(name, input)
    element.append(make("div", {}, make("label", { for: id }, label), input))
  }
  const flagged = checkbox("subscription-flagged", "Only signals with the flag")
  const slack = checkbox("subscription-slack", "To a webhook of Slack")
  element.append(flagged.field, slack.field)
  const add = action("Make a subscription", async (say) => {
    if (!element.reportValidity()) return
    const {
      name = "",
      url = "",
      ...filter
    } = Object.fromEntries(
      [...inputs].filter(([, { value }]) => value !== "").map(([field, { value }]) => [field, value]),
    )
    const { secret } = await change<{ secret: string }>("POST", "/api/subscriptions", {
      name,
      url,
      format: slack.input.checked ? "slack" : "signals",
      filter: { ...numbersIn(filter), ...(flagged.input.checked && { escalate_flag: 1 }) },
    })
    showSecret(made, name, secret)
    element.reset()
    say("Made. Refresh to see it in the list.")
  })
  element.addEventListener("submit", (event) => {
    event.preventDefault()
    add.querySelector("button")?.click()
  })
  element.append(make("div", { class: "ends" }, add))
  return element
}

function checkbox(id: string, label: string): { field: HTMLElement; input: HTMLInputElement } {
  const input = make("input", { id, type: "checkbox" })
  return { input, field: make("div", {}, make("label", { for: id }, label), input) }
}

const numbersIn = (filter: Record<string, string>): Record<string, string | number> =>
  Object.fromEntries(
    Object.entries(filter).map(([name, value]) => [name, name.endsWith("_score") ? Number(value) : value]),
  )

function showSecret(made: HTMLElement, name: string, secret: string): void {
  made.replaceChildren(
    card(
      `The secret of ${name}`,
      make("p", {}, "Copy it now: its calls are signed with it. It is gone when you leave this view."),
      block("New secret", secret),
    ),
  )
}

const change = <Answer>(method: "POST" | "PATCH", path: string, body: object) =>
  send<Answer>(method, path, new AbortController().signal, body)

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
  const since = make("input", { type: "datetime-local", "aria-label": `Send ${name} again from` })
  const resend = action("Send from then", async (say) => {
    if (since.value === "") return say("Choose a time.")
    await change("POST", `${path}/resend`, { since: new Date(since.value).toISOString() })
    again(`${name} is sent again from ${moment(new Date(since.value))}.`)
  })
  const fromThen = make("details", {}, make("summary", {}, "Send again"), since, resend)
  return make("span", { class: "actions" }, test, ...others, fromThen)
}
