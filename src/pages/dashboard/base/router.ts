import { failureSentence, KeyNeeded } from "./api.ts"
import { find, make } from "./dom.ts"
import { moment } from "./format.ts"
import { askForKey, storedKey } from "./key.ts"

/** The part of the address that defines what the page shows: `#/signals?signal_source=slack` */
export interface Address {
  /** Without the slash before it. */
  path: string
  params: URLSearchParams
}

export interface View {
  title: string
  /** Reads the data of the view, and builds it. @throws what `get` throws */
  build(cancelled: AbortSignal): Promise<Node[]>
}

/** Shows the view of the address again, below a note about what was done. */
export type ShowAgain = (done?: string) => void

/** The address of a view, with the parameters that have a value. */
export function linkTo(path: string, params: Record<string, string | null | undefined> = {}): string {
  const given = Object.entries(params).filter((entry): entry is [string, string] => Boolean(entry[1]))
  return given.length > 0 ? `#/${path}?${new URLSearchParams(given)}` : `#/${path}`
}

function currentAddress(): Address {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2)
  return { path, params: new URLSearchParams(query) }
}

/**
 * Shows the view of the address, and the overview where the address is empty. The address alone says what
 * is shown, so that it can be shared and the browser's buttons work.
 *
 * @returns shows the view of the address again, such as after a change of the key
 */
export function watchAddress(
  viewOf: (address: Address, again: ShowAgain) => View | undefined,
  onOverview: () => void,
): () => void {
  const overview = find("[data-overview]")
  const container = find("[data-view]")
  // It stays in the page, so that a screen reader announces what is written into it.
  const notice = find("[data-notice]")
  let underWay: AbortController | undefined

  const show = async (moveFocus: boolean, done = "") => {
    underWay?.abort()
    const request = new AbortController()
    underWay = request
    const address = currentAddress()
    const view = viewOf(address, (sentence) => void show(false, sentence))
    markCurrent(address)
    notice.textContent = done
    overview.hidden = view !== undefined
    container.hidden = view === undefined
    document.title = view ? `${view.title} · signal-ingest` : "signal-ingest"
    if (!view) return onOverview()
    container.setAttribute("aria-busy", "true")
    if (moveFocus) container.replaceChildren(heading(view.title), make("p", { class: "none" }, "Loading"))
    const shown = await view
      .build(request.signal)
      .catch((error: unknown) => failed(error, () => void show(false)))
    if (request.signal.aborted) return
    container.replaceChildren(
      heading(view.title),
      refreshed(() => void show(false)),
      ...shown,
    )
    container.removeAttribute("aria-busy")
    if (moveFocus) find("h2", container).focus()
  }

  window.addEventListener("hashchange", () => void show(true))
  void show(false)
  return () => void show(false)
}

/** A view does not refresh itself: it shows when it was read, and reads again on request. */
function refreshed(again: () => void): HTMLElement {
  const button = make("button", { type: "button", "data-refresh": "" }, "Refresh")
  button.addEventListener("click", again)
  return make("p", { class: "refreshed" }, button, make("span", {}, `Read at ${moment(new Date())}`))
}

const heading = (title: string) => make("h2", { tabindex: "-1" }, title)

/** Marks the link of the navigation that the address belongs to. */
function markCurrent({ path }: Address): void {
  const [section = ""] = path.split("/", 1)
  for (const link of document.querySelectorAll<HTMLAnchorElement>("[data-sections] a")) {
    if (link.getAttribute("href") === `#/${section}`) link.setAttribute("aria-current", "page")
    else link.removeAttribute("aria-current")
  }
}

function failed(error: unknown, again: () => void): Node[] {
  if (error instanceof KeyNeeded && error.key === storedKey())
    askForKey(`The service answered: ${error.message}`)
  const button = make("button", { type: "button" }, "Try again")
  button.addEventListener("click", again)
  return [make("p", { class: "note", role: "alert" }, failureSentence(error)), button]
}
