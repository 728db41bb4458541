import { announce, find } from "./dom.ts"
import { moment } from "./format.ts"
import { isAskingForKey } from "./key.ts"
import type { Source } from "./source.ts"

export const EVERY_MS = 5000

/** Asks every source again and again, except while paused, hidden, or waiting for a key. Returns a way to ask at once. */
export function keepFresh(sources: Source[]): () => void {
  const button = find<HTMLButtonElement>("[data-pause]")
  const updated = find("[data-updated]")
  let paused = false

  const say = () => {
    updated.textContent = isAskingForKey() ? "Waiting for a key" : paused ? "Paused" : `Checked ${moment(new Date())}`
  }
  const ask = async (now: boolean) => {
    await Promise.all(sources.map((source) => source.refresh(now)))
    say()
  }
  const tick = () => {
    if (!paused && !document.hidden && !isAskingForKey()) void ask(false)
  }

  button.addEventListener("click", () => {
    paused = !paused
    button.setAttribute("aria-pressed", String(paused))
    button.textContent = paused ? "Resume" : "Pause"
    announce(paused ? "Refresh paused" : "Refresh resumed")
    say()
    tick()
  })
  document.addEventListener("visibilitychange", tick)
  setInterval(tick, EVERY_MS)
  void ask(true)
  return () => void ask(true)
}
