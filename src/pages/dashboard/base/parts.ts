import { failureSentence } from "./api.ts"
import { make } from "./dom.ts"
import { fullTime, moment, NONE } from "./format.ts"
import { indented } from "./json-text.ts"
import { linkTo } from "./router.ts"

/** A box with a heading. */
export function card(title: string, ...children: (Node | string)[]): HTMLElement {
  return make("section", { class: "card" }, make("h3", {}, title), ...children)
}

export const link = (href: string, ...children: (Node | string)[]): HTMLElement =>
  make("a", { href }, ...children)

/** A link of a row, with its time as text. `what` distinguishes it from others for a screen reader. */
export function timeLink(href: string, instant: string, what: string): HTMLElement {
  const shown = time(instant)
  return make("a", { href, "aria-label": `${shown.textContent}, ${what}` }, shown)
}

/** A time in the viewer's zone with every stored digit and the offset; its tooltip has UTC. */
export const exactTime = (instant: string): HTMLElement =>
  make("time", { datetime: instant, title: `${instant} (UTC)` }, fullTime(instant))

/** A time in the viewer's zone; its tooltip has UTC. */
export const time = (instant: string): HTMLElement =>
  make("time", { datetime: instant, title: `${instant} (UTC)` }, moment(new Date(instant)))

/** Names with their values; a name without a value is left out. */
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

/** Longer JSON is truncated. */
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

/** The page before each page that this tab has opened by "Older". A cursor only leads to older rows. */
const newerPages = new Map<string, string>()

/** Links to the first page of a list, and to the pages beside this one. */
export function pageLinks(path: string, params: URLSearchParams, next: string | null): HTMLElement {
  const { cursor, ...filters } = Object.fromEntries(params)
  const here = linkTo(path, { ...filters, cursor })
  const older = next === null ? undefined : linkTo(path, { ...filters, cursor: next })
  if (older !== undefined) newerPages.set(older, here)
  const newer = newerPages.get(here)
  const links = [
    ...(cursor ? [link(linkTo(path, filters), "Newest")] : []),
    ...(newer === undefined ? [] : [link(newer, "Newer")]),
    ...(older === undefined ? [] : [link(older, "Older")]),
  ]
  return make("nav", { class: "pages", "aria-label": "Pages" }, ...links)
}

/** A button that runs `work` once at a time, and shows what went wrong beside itself. */
export function action(label: string, work: (say: (sentence: string) => void) => Promise<void>): HTMLElement {
  const button = make("button", { type: "button" }, label)
  const status = make("span", { class: "said", role: "status" })
  button.addEventListener("click", async () => {
    button.disabled = true
    status.textContent = ""
    await work((sentence) => {
      status.textContent = sentence
    }).catch((error: unknown) => {
      status.textContent = failureSentence(error)
    })
    button.disabled = false
  })
  return make("span", { class: "action" }, button, status)
}
