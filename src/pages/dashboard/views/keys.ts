import type { KeyRecord } from "../../../keys/records.ts"
import type { Scope } from "../../../signals/rules.ts"
import { get, KeyNeeded, send } from "../base/api.ts"
import { make } from "../base/dom.ts"
import { NONE } from "../base/format.ts"
import { action, block, card, exactTime, pageLinks, time } from "../base/parts.ts"
import type { ShowAgain, View } from "../base/router.ts"
import { table } from "../base/table.ts"

interface KeyPage {
  keys: KeyRecord[]
  next_cursor: string | null
}

const SCOPES: readonly [Scope, string][] = [
  ["ingest", "send signals"],
  ["read", "read everything"],
  ["bridge", "send the dedupe keys of bridges"],
  ["admin", "erase, and make keys"],
]

/** The keys that were made at run time, and what can be done with them. */
export const keysView = (params: URLSearchParams, again: ShowAgain): View => ({
  title: "Keys",
  async build(cancelled) {
    const query = new URLSearchParams({ limit: "50", ...Object.fromEntries(params) })
    const page = await get<KeyPage>(`/api/keys?${query}`, cancelled).catch((error: unknown) => {
      if (error instanceof KeyNeeded && error.key !== null) return undefined
      throw error
    })
    if (!page) return [make("p", { class: "none" }, "Keys are shown to keys with the scope admin.")]
    const made = make("div", { role: "status", "data-made-key": "" })
    const panel = card("Keys")
    table<KeyRecord>(panel, {
      label: "Keys",
      none: "No key was made at run time. The keys of API_KEYS are not listed.",
      hook: ({ id }) => ["data-key", id],
      columns: [
        { title: "Name", cell: ({ name }) => make("span", { class: "name" }, name) },
        { title: "Key", cell: ({ hint }) => `${hint}…` },
        { title: "State", cell: ({ state }) => state },
        { title: "May", cell: ({ scopes }) => scopes.join(", ") },
        { title: "Last used", cell: ({ last_used_on }) => last_used_on ?? "never" },
        {
          title: "Made",
          cell: ({ created_at, created_by }) => make("span", {}, time(created_at), ` by ${created_by}`),
        },
        {
          title: "Ends",
          cell: ({ expires_at, revoked_at, revoked_by }) => {
            if (revoked_at !== null) return make("span", {}, time(revoked_at), ` by ${revoked_by}`)
            return expires_at === null ? NONE : exactTime(expires_at)
          },
        },
        { title: "Actions", cell: (key) => actions(key, made, again) },
      ],
    }).show(page.keys)
    return [made, form(made), panel, pageLinks("keys", params, page.next_cursor)]
  },
})

/** Shows a new key. Only this page of this tab has it, until the view is shown again. */
function showMade(made: HTMLElement, { name, key }: KeyRecord & { key: string }): void {
  made.replaceChildren(
    card(
      `The key of ${name}`,
      make("p", {}, "Copy it now. It is shown only here, and gone when you leave this view."),
      block("New key", key),
    ),
  )
}

function actions({ id, name, state }: KeyRecord, made: HTMLElement, again: ShowAgain): HTMLElement {
  const rotate = action("Rotate", async () => {
    if (!confirm(`Make a second key for ${name}? The first one stays valid until you revoke it.`)) return
    showMade(made, await change("POST", `/api/keys/${id}/rotate`, {}))
  })
  const revoke = action("Revoke", async () => {
    if (!confirm(`Revoke this key of ${name}? Whoever uses it is refused within 60 seconds.`)) return
    await change("DELETE", `/api/keys/${id}`)
    again(`The key of ${name} is revoked.`)
  })
  return make("span", { class: "actions" }, rotate, ...(state === "active" ? [revoke] : []))
}

/** A refusal is a sentence beside the button, not a question for another key. */
const change = <Answer>(method: "POST" | "DELETE", path: string, body?: object): Promise<Answer> =>
  send<Answer>(method, path, new AbortController().signal, body)

function form(made: HTMLElement): HTMLElement {
  const field = (id: string, label: string, attributes: Record<string, string>) =>
    make("div", {}, make("label", { for: id }, label), make("input", { id, ...attributes }))
  const name = field("key-name", "Name of the sender", {
    required: "",
    maxlength: "100",
    pattern: "[\\w.@\\-]+",
    title: "Letters, digits, and . _ @ -",
    autocomplete: "off",
    spellcheck: "false",
  })
  const ends = field("key-ends", "Ends on", { type: "date" })
  const scopes = make(
    "fieldset",
    { class: "ticks" },
    make("legend", {}, "The key may"),
    ...SCOPES.map(([scope, what]) =>
      make("label", {}, make("input", { type: "checkbox", value: scope }), `${scope}: ${what}`),
    ),
  )
  const element = make("form", { class: "card filters", "data-new-key": "" }, name, ends, scopes)
  const add = action("Make a key", async (say) => {
    if (!element.reportValidity()) return
    const chosen = [...element.querySelectorAll<HTMLInputElement>("[type=checkbox]:checked")]
    if (chosen.length === 0) return say("Choose what the key may do.")
    const date = element.querySelector<HTMLInputElement>("#key-ends")?.value
    const body = {
      name: element.querySelector<HTMLInputElement>("#key-name")?.value,
      scopes: chosen.map(({ value }) => value),
      ...(date && { expires_at: new Date(date).toISOString() }),
    }
    showMade(made, await change("POST", "/api/keys", body))
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
