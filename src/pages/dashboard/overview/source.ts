import { failureSentence, get, KeyNeeded, NotAnswered } from "../base/api.ts"
import { announce, find } from "../base/dom.ts"
import { moment } from "../base/format.ts"
import { askForKey, storedKey } from "../base/key.ts"

const LONGEST_WAIT_MS = 60_000

/** The wait after so many failures in a row: 2, 4, 8 and so on refresh intervals. */
const waitMs = (failures: number, everyMs: number) => Math.min(everyMs * 2 ** failures, LONGEST_WAIT_MS)

export interface Source {
  /**
   * Refreshes, unless a request is in flight or the wait after a failure is not over; `now` refreshes in any
   * case. Returns whether new data came.
   */
  refresh(now?: boolean): Promise<boolean>
}

/**
 * One route and the panels that show its answer. A failure affects these alone: they keep the old figures,
 * and a note gives the reason.
 *
 * @param everyMs the refresh interval without failures
 */
export function source<Answer>(options: {
  name: string
  path: () => string
  panels: string[]
  everyMs: number
  show: (answer: Answer) => void
  /**
   * Called when the service refuses the path for good. Returns whether `path` is another one now, which is
   * asked for at once.
   */
  instead?: (error: NotAnswered) => boolean
}): Source {
  const note = find(`[data-note="${options.name}"]`)
  const panels = options.panels.map((panel) => find(`[data-panel="${panel}"]`))
  let failures = 0
  let notBefore = 0
  let updated: Date | undefined
  let underWay: AbortController | undefined

  const mark = (state: "fresh" | "stale" | "absent", sentence = "") => {
    for (const panel of panels) panel.dataset.state = state
    note.hidden = sentence === ""
    note.textContent = sentence
  }

  const fail = (error: unknown) => {
    if (error instanceof KeyNeeded) {
      if (error.key === storedKey()) askForKey(`The service answered: ${error.message}`)
      return
    }
    const atLeastMs = error instanceof NotAnswered ? error.retryAfterSeconds * 1000 : 0
    failures++
    notBefore = Date.now() + Math.max(atLeastMs, waitMs(failures, options.everyMs))
    const sentence = failureSentence(error)
    if (updated) mark("stale", `Not refreshed since ${moment(updated)}. ${sentence}`)
    else mark("absent", sentence)
    if (failures === 1) announce(`${options.name} could not be refreshed`)
  }

  const self: Source = {
    async refresh(now = false) {
      if (!now && (underWay || Date.now() < notBefore)) return false
      underWay?.abort()
      const request = new AbortController()
      underWay = request
      try {
        const answer = await get<Answer>(options.path(), request.signal)
        if (request.signal.aborted) return false
        options.show(answer)
        if (failures > 0) announce(`${options.name} is refreshed again`)
        failures = 0
        notBefore = 0
        updated = new Date()
        mark("fresh")
        return true
      } catch (error) {
        if (request.signal.aborted) return false
        if (error instanceof NotAnswered && options.instead?.(error)) return await self.refresh(true)
        fail(error)
        return false
      } finally {
        if (underWay === request) underWay = undefined
      }
    },
  }
  return self
}
