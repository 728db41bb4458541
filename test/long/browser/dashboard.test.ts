import { describe, expect, it } from "vitest"
import {
  CHROMIUM,
  expectNoComplaints,
  figure,
  picture,
  scrollsSideways,
  seriousFindings,
} from "../../setup/browser.ts"
import { useLocalPages } from "../../setup/hooks/pages.ts"

const PANELS = [
  "figures",
  "throughput",
  "latency",
  "rates",
  "sources",
  "failures",
  "outcomes",
  "routes",
  "signals",
  "batches",
  "conversations",
]

describe.runIf(CHROMIUM)("the dashboard", () => {
  const pages = useLocalPages()

  const send = async (body: unknown, status: number) => {
    const response = await fetch(`${pages.address}/api/signals/batch`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    })
    expect(response.status).toBe(status)
  }
  const good = (content: string) => ({
    context_window_id: "conv-dashboard",
    raw_content: content,
    signal_score: 0.8,
    signal_source: "Slack",
  })

  it("shows a first curl command while nothing is stored, and shows the first batch without a reload", async () => {
    const watched = await pages.open()
    const { page } = watched
    const curl = page.locator("[data-empty-state] [data-first-curl]")
    await curl.waitFor()
    expect(await curl.textContent()).toContain(`curl -X POST ${pages.address}/api/signals/batch`)
    await picture(page, "dashboard-empty")
    expect(await page.locator("[data-sections] [aria-current]").allInnerTexts()).toEqual(["Overview"])
    expect(await seriousFindings(page)).toEqual([])

    await send({ signals: [good("the very first")] }, 200)
    await page.locator('[data-panel="signals"]', { hasText: "the very first" }).waitFor()
    expect(await page.locator("[data-empty-state]").isVisible()).toBe(false)
    expectNoComplaints(watched)
    await page.context().close()
  })

  it("shows what was sent: good, partly bad and bad batches, their figures and the reason of a failure", async () => {
    await send({ signals: Array.from({ length: 20 }, (_, index) => good(`good ${index}`)) }, 200)
    await send({ signals: [good("kept"), { ...good("spoilt"), signal_score: 1.5 }] }, 200)
    await send({ signals: [good("x"), { context_window_id: " " }], fail_on_error: true }, 400)
    await send({ signals: [{ raw_content: "no conversation" }] }, 422)

    const watched = await pages.open()
    const { page } = watched
    // With the first test's batch these are five requests; 22 signals are stored, one and two are not.
    await expect.poll(() => figure(page, "requests")).toBe(5)
    expect(await figure(page, "signals_created")).toBe(22)
    expect(await figure(page, "signals_failed")).toBe(3)
    expect(await figure(page, "success_rate")).toBeCloseTo(2 / 5)
    expect(await figure(page, "error_rate")).toBeCloseTo(2 / 5)
    for (const name of ["p50", "p95", "p99"]) expect(await figure(page, name)).toBeGreaterThan(0)
    for (const [outcome, count] of [
      ["stored", "2"],
      ["partly_stored", "1"],
      ["rejected", "1"],
      ["invalid", "1"],
    ])
      expect(await page.locator(`[data-outcome="${outcome}"]`).innerText()).toMatch(
        new RegExp(`\\b${count}\\b`),
      )

    expect(await page.locator('[data-source="Slack"]').innerText()).toMatch(/\b22\b.*100%/s)
    expect(await page.locator('[data-code="out_of_range"]').innerText()).toMatch(
      /outside the range.*\b1\b.*\b1\b/s,
    )
    expect(await page.locator('[data-code="invalid_request"]').innerText()).toMatch(/\b1\b.*\b0\b/s)
    expect(await page.locator("[data-code] a").allInnerTexts()).toEqual(
      expect.arrayContaining(["out_of_range", "blank"]),
    )

    const failed = page.locator("[data-batch]", { hasText: "1 reason" }).first()
    await failed.locator("summary").click()
    expect(await failed.innerText()).toContain("#1 signal_score must be between 0 and 1")
    expect(await page.locator('[data-conversation="conv-dashboard"]').innerText()).toContain("22")
    for (const panel of PANELS)
      expect(await page.getAttribute(`[data-panel="${panel}"]`, "data-state"), panel).toBe("fresh")
    expectNoComplaints(watched)
    await page.context().close()
  })

  it("draws charts with data, and says the same in words", async () => {
    const { page } = await pages.open()
    await expect.poll(() => figure(page, "requests")).toBe(5)
    for (const panel of ["throughput", "latency", "rates", "sources", "failures"]) {
      const plot = page.locator(`[data-panel="${panel}"] .plot`)
      // The colour of a line, which neither grid nor axis has.
      const coloured = await plot.locator("canvas").evaluate((canvas: HTMLCanvasElement) => {
        const { data } = canvas.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height) ?? {
          data: [],
        }
        let count = 0
        for (let at = 0; at < data.length; at += 4) {
          const [red = 0, green = 0, blue = 0, alpha = 0] = data.slice(at, at + 4)
          if (alpha > 100 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60) count++
        }
        return count
      })
      expect(coloured, panel).toBeGreaterThan(10)
      // In a deployment's first minutes, too, the axis is no longer than the window.
      const seconds = Number(await plot.getAttribute("data-seconds"))
      expect(seconds, panel).toBeGreaterThan(0)
      expect(seconds, panel).toBeLessThanOrEqual(15 * 60 + 15)
      expect(await plot.getAttribute("aria-label"), panel).not.toBe("Nothing to show yet")
    }
    await page.context().close()
  })

  it.each([
    ["light", "dashboard-light", { colorScheme: "light" as const }],
    [
      "dark at phone width",
      "dashboard-phone-dark",
      { colorScheme: "dark" as const, viewport: { width: 360, height: 740 } },
    ],
  ])("has no serious finding of axe, and nothing outside the screen: %s", async (_, name, options) => {
    const watched = await pages.open("/", options)
    const { page } = watched
    await expect.poll(() => figure(page, "requests")).toBe(5)
    await picture(page, name)
    expect(await seriousFindings(page)).toEqual([])
    expect(await scrollsSideways(page)).toBe(false)
    const background = await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)
    const [red = 0] = background.match(/[\d.]+/g)?.map(Number) ?? []
    expect(red > 127).toBe(options.colorScheme === "light")
    expectNoComplaints(watched)
    await page.context().close()
  })

  it("asks for a shorter time when a day has too many signals for the statistics, and says so", async () => {
    const { page } = await pages.open()
    await page.route("**/api/signals/stats*", (route) =>
      route.request().url().includes("since=")
        ? route.fallback()
        : route.fulfill({
            status: 422,
            json: { code: "read_too_costly", detail: [{ loc: ["query"], msg: "more than 2000000 signals" }] },
          }),
    )
    await page.reload()
    await page.locator("[data-stats-reason]").waitFor()
    expect(await page.locator("[data-stats-reason]").innerText()).toContain("This is the last hour.")
    expect(await page.locator("[data-stats-window]").textContent()).toBe("last hour")
    expect(await page.locator('[data-conversation="conv-dashboard"]').innerText()).toContain("22")
    expect(await page.locator('[data-note="conversations"]').isVisible()).toBe(false)
    expect(await seriousFindings(page)).toEqual([])
    await page.context().close()
  })

  it("continues when a request fails: it reports the failure, keeps its data, and recovers without a reload", async () => {
    const { page } = await pages.open()
    await expect.poll(() => figure(page, "requests")).toBe(5)
    await page.route("**/api/metrics*", (route) =>
      route.fulfill({ status: 503, json: { detail: "Metrics can't be read right now." } }),
    )
    await page.route("**/api/batches*", (route) => route.abort())
    await page.locator('[data-note="metrics"]').waitFor()
    expect(await page.locator('[data-note="metrics"]').innerText()).toContain(
      "Metrics can't be read right now.",
    )
    await page.locator('[data-note="batches"]').waitFor()
    expect(await page.getAttribute('[data-panel="figures"]', "data-state")).toBe("stale")
    expect(await page.getAttribute('[data-panel="signals"]', "data-state")).toBe("fresh")
    expect(await figure(page, "requests")).toBe(5)
    expect(await page.locator("[data-batch]").count()).toBeGreaterThan(0)
    await picture(page, "dashboard-stale")
    expect(await seriousFindings(page)).toEqual([])

    await page.unroute("**/api/metrics*")
    await page.unroute("**/api/batches*")
    await page.locator('[data-panel="figures"][data-state="fresh"]').waitFor()
    expect(await page.locator('[data-note="metrics"]').isVisible()).toBe(false)
    await page.context().close()
  })

  it("works by keyboard alone, with a visible focus", async () => {
    const { page } = await pages.open()
    await expect.poll(() => figure(page, "requests")).toBe(5)
    const reached: string[] = []
    for (let press = 0; press < 100; press++) {
      await page.keyboard.press("Tab")
      const focused = await page.evaluate(() => {
        const element = document.activeElement as HTMLElement
        const shown = element.matches("input[type=radio]")
          ? (element.nextElementSibling as HTMLElement)
          : element
        const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(shown)
        const seen = (outlineStyle !== "none" && Number.parseFloat(outlineWidth) > 0) || boxShadow !== "none"
        return {
          name:
            element.getAttribute("name") ??
            element.getAttribute("aria-label") ??
            element.textContent?.trim() ??
            "",
          seen,
          body: element === document.body,
        }
      })
      if (focused.body) break
      expect(focused.seen, focused.name).toBe(true)
      reached.push(focused.name)
    }
    expect(reached).toEqual(
      expect.arrayContaining(["Docs", "Pause", "theme", "window", "Newest signals", "Newest batches"]),
    )

    await page.getByLabel("15 min").focus()
    const asked = page.waitForRequest((request) => request.url().includes("window=1h"))
    await page.keyboard.press("ArrowRight")
    await asked
    await page.getByRole("button", { name: "Pause" }).focus()
    await page.keyboard.press("Enter")
    await page.getByRole("button", { name: "Resume" }).waitFor()
    await page.context().close()
  })

  it("is served with a strict policy, and sends no request to another origin", async () => {
    const response = await fetch(pages.address)
    const policy = response.headers.get("Content-Security-Policy") ?? ""
    expect(policy).toContain("default-src 'none'")
    expect(policy).toContain("script-src 'self'")
    expect(policy).not.toMatch(/unsafe|https?:|\*/)
    expect(response.headers.get("X-Content-Type-Options")).toBe("nosniff")
    expect(await response.text()).not.toMatch(/(src|href)="(https?:)?\/\//)
  })
})
