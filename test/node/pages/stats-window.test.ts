import { describe, expect, it } from "vitest"
import { statsWindow } from "../../../src/pages/dashboard/overview/stats-window.ts"

const NOW = Date.UTC(2025, 0, 15, 9)

describe("the time that the conversations cover", () => {
  it("is a day by the service's clock", () => {
    const window = statsWindow()
    expect([window.path(NOW), window.words(), window.reason()]).toEqual([
      "/api/signals/stats?limit=20",
      "last day",
      "",
    ])
  })

  it("is the next shorter window that the service accepts, and has the reason", () => {
    const window = statsWindow()
    expect(window.narrow(NOW)).toBe(true)
    expect(window.path(NOW)).toBe("/api/signals/stats?limit=20&since=2025-01-15T08:00:00.000Z")
    expect(window.path(NOW + 60_000)).toBe("/api/signals/stats?limit=20&since=2025-01-15T08:01:00.000Z")
    expect(window.words()).toBe("last hour")
    expect(window.reason()).toBe(
      "The last day has more signals than the service counts at once. This is the last hour.",
    )
    expect(window.narrow(NOW)).toBe(true)
    expect(window.words()).toBe("last 5 minutes")
    expect(window.narrow(NOW)).toBe(false)
  })

  it("becomes a day again after a quarter of an hour, and not earlier", () => {
    const window = statsWindow()
    window.path(NOW)
    window.narrow(NOW)
    window.path(NOW + 14 * 60_000)
    expect(window.words()).toBe("last hour")
    window.path(NOW + 15 * 60_000)
    expect([window.words(), window.reason()]).toEqual(["last day", ""])
  })
})
