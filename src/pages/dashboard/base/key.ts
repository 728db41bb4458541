import { find } from "./dom.ts"

const NAME = "signal-ingest-key"

/** The key of this tab. Session storage ends with the tab, and no other tab reads it. */
export const storedKey = (): string | null => sessionStorage.getItem(NAME)

const form = find<HTMLFormElement>("[data-key-form]")
const input = find<HTMLInputElement>("input", form)
const forget = find<HTMLButtonElement>("[data-forget-key]")

/** Stays visible behind the form only when it already shows data. */
const content = find("[data-content]")

export const isAskingForKey = (): boolean => !form.hidden

/** Shows the form and forgets the refused key. */
export function askForKey(reason: string): void {
  sessionStorage.removeItem(NAME)
  forget.hidden = true
  find("[data-key-refusal]").textContent = reason
  content.dataset.locked = String(
    content.querySelector('[data-state="fresh"], [data-state="stale"]') === null,
  )
  if (isAskingForKey()) return
  form.hidden = false
  input.focus()
}

/** @param onKey runs when the viewer gives a key; the next answers show whether the service accepts it */
export function watchKey(onKey: () => void): void {
  forget.hidden = storedKey() === null
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    const key = input.value.trim()
    if (key === "") return
    // A header holds only visible ASCII characters.
    if (!/^[\x21-\x7e]+$/.test(key))
      return askForKey("A key holds visible ASCII characters only. Check it and paste it again.")
    sessionStorage.setItem(NAME, key)
    form.reset()
    form.hidden = true
    content.dataset.locked = "false"
    forget.hidden = false
    onKey()
  })
  // The reload removes the data that was read with the key.
  forget.addEventListener("click", () => {
    sessionStorage.removeItem(NAME)
    location.reload()
  })
}
