import { make } from "../dom.ts"
import { moment, NONE } from "../format.ts"
import { indented } from "../json-text.ts"
import { linkTo } from "../router.ts"

/** A box with a heading. */
export function card(title: string, ...children: (Node | string)[]): HTMLElement {
  return make("section", { class: "card" }, make("h3", {}, title), ...children)
}

export const link = (href: string, ...children: (Node | string)[]): HTMLElement =>
  make("a", { href }, ...children)

/** A time in the viewer's zone; its tooltip has UTC. */
export const time = (instant: string): HTMLElement =>
  make("time", { datetime: instant, title: `${instant} (UTC)` }, moment(new Date(instant)))

/** Names and what they stand for; one without a value is left out. */
export function facts(
  rows: readonly (readonly [name: string, value: Node | string | null | undefined])[],
): HTMLElement {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== "")
  return make(
    "dl",
    { class: "facts" },
    ...shown.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value ?? NONE)]),
  )
}

/** A text in a box that scrolls, also by keyboard. */
export const block = (label: string, text: string): HTMLElement =>
  make("pre", { class: "block", tabindex: "0", role: "region", "aria-label": label }, text)

/** Of JSON that is too large to be laid out at once, only the beginning is shown. */
const SHOWN_CHARACTERS = 200_000

export function jsonBlock(label: string, json: string): HTMLElement {
  const whole = json.length <= SHOWN_CHARACTERS
  return block(
    label,
    whole
      ? indented(json)
      : `${json.slice(0, SHOWN_CHARACTERS)}\n… ${json.length - SHOWN_CHARACTERS} more characters`,
  )
}

/** Links to the first and to the next page of a list. */
export function pageLinks(path: string, params: URLSearchParams, next: string | null): HTMLElement {
  const { cursor, ...filters } = Object.fromEntries(params)
  const links = [
    ...(cursor ? [link(linkTo(path, filters), "Newest")] : []),
    ...(next === null ? [] : [link(linkTo(path, { ...filters, cursor: next }), "Older")]),
  ]
  return make("nav", { class: "pages", "aria-label": "Pages" }, ...links)
}

/** A button that runs `work` once at a time, and says what went wrong beside itself. */
export function action(label: string, work: (say: (sentence: string) => void) => Promise<void>): HTMLElement {
  const button = make("button", { type: "button" }, label)
  const said = make("span", { class: "said", role: "status" })
  button.addEventListener("click", async () => {
    button.disabled = true
    said.textContent = ""
    await work((sentence) => {
      said.textContent = sentence
    }).catch((error: unknown) => {
      said.textContent = `Failed: ${error instanceof Error ? error.message : String(error)}`
    })
    button.disabled = false
  })
  return make("span", { class: "action" }, button, said)
}
