import { announce, find } from "../base/dom.ts"
import { moment } from "../base/format.ts"
import { isAskingForKey } from "../base/key.ts"
import type { Source } from "./source.ts"

export const EVERY_MS = 5000

/**
 * Refreshes every source periodically, except while paused, hidden, or waiting for a key, and while another
 * view is shown. Returns a function that refreshes at once.
 */
export function keepFresh(sources: Source[]): () => void {
  const button = find<HTMLButtonElement>("[data-pause]")
  const updated = find("[data-updated]")
  let paused = false

  let last: Date | undefined

  const showState = () => {
    const state = isAskingForKey() ? "Waiting for a key" : paused ? "Paused" : undefined
    const updatedAt = last ? `Updated ${moment(last)}` : undefined
    updated.textContent = [state, updatedAt].filter(Boolean).join(". ") || "No data yet"
  }
  const overview = find("[data-overview]")
  const ask = async (now: boolean) => {
    if (overview.hidden) return
    const answered = await Promise.all(sources.map((source) => source.refresh(now)))
    if (answered.includes(true)) last = new Date()
    showState()
  }
  const tick = () => {
    if (!paused && !document.hidden && !isAskingForKey()) void ask(false)
  }

  button.addEventListener("click", () => {
    paused = !paused
    button.setAttribute("aria-pressed", String(paused))
    button.textContent = paused ? "Resume" : "Pause"
    announce(paused ? "Refresh paused" : "Refresh resumed")
    showState()
    tick()
  })
  document.addEventListener("visibilitychange", tick)
  setInterval(tick, EVERY_MS)
  return () => void ask(true)
}
