/** The times that the statistics of conversations can cover, longest first. */
const WINDOWS = [
  { seconds: 86_400, words: "last day" },
  { seconds: 3600, words: "last hour" },
  { seconds: 300, words: "last 5 minutes" },
] as const

/**
 * A refused question costs the database a second, so the longest window is asked for again only after this
 * time.
 */
const LONGEST_AGAIN_MS = 15 * 60 * 1000

export interface StatsWindow {
  path(nowMs: number): string
  /**
   * Takes the next shorter window after the service refused the current one. Returns false when there is
   * none.
   */
  narrow(nowMs: number): boolean
  /** What the window covers. */
  words(): string
  /** Why it is not the longest; "" when it is. */
  reason(): string
}

/** The longest window for which the service can compute statistics. */
export function statsWindow(): StatsWindow {
  let index = 0
  let narrowedAtMs = 0
  const at = (position: number) => WINDOWS[position] ?? WINDOWS[0]
  return {
    path(nowMs) {
      if (nowMs - narrowedAtMs >= LONGEST_AGAIN_MS) index = 0
      // Without `since`, the service covers a day by its own clock.
      const since = index === 0 ? "" : `&since=${new Date(nowMs - at(index).seconds * 1000).toISOString()}`
      return `/api/signals/stats?limit=20${since}`
    },
    narrow(nowMs) {
      if (index === WINDOWS.length - 1) return false
      index++
      narrowedAtMs = nowMs
      return true
    },
    words: () => at(index).words,
    reason: () =>
      index === 0
        ? ""
        : `The ${at(index - 1).words} has more signals than the service counts at once. This is the ${at(index).words}.`,
  }
}
