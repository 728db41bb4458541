import { find } from "./dom.ts"

const NAME = "signal-ingest-key"

/** The key of this tab. Session storage ends with the tab and is seen by no other. */
export const storedKey = (): string | null => sessionStorage.getItem(NAME)

const form = find<HTMLFormElement>("[data-key-form]")
const input = find<HTMLInputElement>("input", form)
const forget = find<HTMLButtonElement>("[data-forget-key]")

/** Shown behind the form only when there is something in it to keep. */
const content = find("[data-content]")

export const isAskingForKey = (): boolean => !form.hidden

/** Shows the form, once, and forgets the key that was refused. */
export function askForKey(reason: string): void {
  sessionStorage.removeItem(NAME)
  forget.hidden = true
  find("[data-key-refusal]").textContent = reason
  content.hidden = content.querySelector('[data-state="fresh"], [data-state="stale"]') === null
  if (isAskingForKey()) return
  form.hidden = false
  input.focus()
}

/** @param onKey a key was given; whether it is good shows in the next answers */
export function watchKey(onKey: () => void): void {
  forget.hidden = storedKey() === null
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    const key = input.value.trim()
    if (key === "") return
    // A header takes no more than this; the service would never see anything else.
    if (!/^[\x21-\x7e]+$/.test(key)) return askForKey("A key has no spaces and no letters beyond ASCII.")
    sessionStorage.setItem(NAME, key)
    form.reset()
    form.hidden = true
    content.hidden = false
    forget.hidden = false
    onKey()
  })
  // With the key goes what was read with it.
  forget.addEventListener("click", () => {
    sessionStorage.removeItem(NAME)
    location.reload()
  })
}
