import type { Browser } from "playwright-core"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import {
  CHROMIUM,
  expectNoComplaints,
  openBrowser,
  openPage,
  picture,
  scrollsSideways,
  seriousFindings,
} from "../../setup/browser.ts"
import { type LocalService, startLocalService } from "../../setup/local-service.ts"

/** More digits than a double has. */
const EXACT = "12345678901234567890.1234567890"

describe.runIf(CHROMIUM)("the views of the dashboard", () => {
  let service: LocalService
  let browser: Browser
  let batch: string

  const post = async (path: string, body: string): Promise<{ transaction_id: string }> => {
    const response = await fetch(`${service.address}${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body,
    })
    expect(response.status).toBe(200)
    return (await response.json()) as { transaction_id: string }
  }

  beforeAll(async () => {
    ;[service, browser] = await Promise.all([startLocalService(), openBrowser()])
    const many = Array.from({ length: 60 }, (_, index) => ({
      context_window_id: "conv-many",
      signal_source: "slack",
      raw_content: `message ${index}`,
      user_id: index % 2 === 0 ? "u-even" : "u-odd",
    }))
    await post("/api/signals/batch", JSON.stringify({ signals: many }))
    await post(
      "/api/signals/batch",
      `{"signals":[{"context_window_id":"conv-exact","raw_content":"<b>no markup</b>","payload":{"amount":${EXACT},"list":[1,{"a":null}]}}]}`,
    )
    const bad = { context_window_id: "conv-bad", signal_score: 2 }
    const failed = await post(
      "/api/signals/batch",
      JSON.stringify({ signals: [bad, bad, { ...bad, signal_score: 0.2 }] }),
    )
    batch = failed.transaction_id
    // Without a conversation: acknowledged, and kept as dead letters.
    await post(
      "/webhooks/kafka",
      JSON.stringify([{ raw_content: "first" }, { raw_content: "second" }, { raw_content: "third" }]),
    )
  })
  afterAll(async () => {
    await browser?.close()
    await service?.stop()
  })

  /** The four above, and the scores that a test below sends. */
  const BATCHES = 5

  const waitingDeadLetters = async () => {
    const response = await fetch(`${service.address}/api/dead-letters?state=waiting&limit=100`)
    return ((await response.json()) as { dead_letters: unknown[] }).dead_letters.length
  }
  const open = (address: string, options = {}) =>
    openPage(browser, `${service.address}/#/${address}`, options)

  it("searches contents and payloads, with the search in the address", async () => {
    const watched = await open("signals")
    const { page } = watched
    await page.getByLabel("Content contains").fill("NO markup")
    await page.getByLabel("Payload").fill("list.1.a=null")
    await page.getByRole("button", { name: "Filter" }).click()
    await expect.poll(() => page.locator("[data-view] [data-signal]").count()).toBe(1)
    expect(page.url()).toContain("#/signals?q=NO+markup&payload.list.1.a=null")
    // The filter stays in the form, with an empty one after it.
    const entered = await page
      .locator('[data-filters] [name="payload"]')
      .evaluateAll((all) => all.map((one) => (one as HTMLInputElement).value))
    expect(entered).toEqual(["list.1.a=null", ""])
    await page.locator("#filter-payload-2").fill(`amount=${EXACT}`)
    await page.getByRole("button", { name: "Filter" }).click()
    await expect.poll(() => page.url()).toContain(`&payload.amount=${EXACT}`)
    await expect.poll(() => page.locator("[data-view] [data-signal]").count()).toBe(1)
    await open("signals?q=%25").then(({ page }) =>
      expect.poll(() => page.getByText("No signal matches these filters").count()).toBe(1),
    )
    expect(await seriousFindings(page)).toEqual([])
    expectNoComplaints(watched)
  })

  it("shows the scores that came after a signal, newest first, with their batch", async () => {
    const { transaction_id } = await post(
      "/api/scores",
      JSON.stringify({
        scores: [
          { signal_id: 2, signal_score: 0.25, scored_at: "2026-01-01T00:00:00Z", scorer: "<i>judge</i>" },
          { signal_id: 2, escalate_flag: 1, scored_at: "2026-01-02T00:00:00Z" },
        ],
      }),
    )
    const watched = await open("signals/2")
    const { page } = watched
    const rows = page.getByRole("table", { name: "Late scores" }).locator("tbody tr")
    await expect.poll(() => rows.count()).toBe(2)
    expect(await rows.nth(0).locator("td").allInnerTexts()).toEqual([
      expect.stringContaining("2026"),
      "–",
      "–",
      "–",
      "yes",
      `batch ${transaction_id.slice(-6)}`,
    ])
    expect(await rows.nth(1).locator("td").nth(1).innerText()).toBe("<i>judge</i>")
    await rows.nth(0).getByRole("link").click()
    await expect.poll(() => page.url()).toContain(`#/batches/${transaction_id}`)
    expect(await seriousFindings(page)).toEqual([])
    expectNoComplaints(watched)
  })

  it("shows signals page by page, and follows a link to the next page and back", async () => {
    const watched = await open("signals")
    const { page } = watched
    await expect.poll(() => page.locator("[data-view] [data-signal]").count()).toBe(50)
    await picture(page, "view-signals", { fullPage: false })
    await page.getByRole("link", { name: "Older" }).click()
    await expect.poll(() => page.locator("[data-view] [data-signal]").count()).toBe(12)
    await page.getByRole("link", { name: "Newer" }).click()
    await expect.poll(() => page.locator("[data-view] [data-signal]").count()).toBe(50)
    await page.goBack()
    await expect.poll(() => page.locator("[data-view] [data-signal]").count()).toBe(12)
    expectNoComplaints(watched)
    await page.context().close()
  })

  it("filters signals by a form whose fields go into the address, so that the view can be shared", async () => {
    const watched = await open("signals")
    const { page } = watched
    await page.getByLabel("Conversation", { exact: true }).fill("conv-exact")
    await page.keyboard.press("Enter")
    await expect.poll(() => page.locator("[data-view] [data-signal]").count()).toBe(1)
    const shared = page.url()
    expect(shared).toContain("#/signals?context_window_id=conv-exact")
    const elsewhere = await openPage(browser, shared)
    await expect.poll(() => elsewhere.page.locator("[data-view] [data-signal]").count()).toBe(1)
    expect(await elsewhere.page.getByLabel("Conversation", { exact: true }).inputValue()).toBe("conv-exact")
    await page.getByRole("link", { name: "Clear" }).click()
    await expect.poll(() => page.locator("[data-view] [data-signal]").count()).toBe(50)
    expectNoComplaints(watched)
    await Promise.all([page.context().close(), elsewhere.page.context().close()])
  })

  it("shows every field of a signal, every digit of its payload, and a link to its batch", async () => {
    const watched = await open("signals?context_window_id=conv-exact")
    const { page } = watched
    await page.locator("[data-view] [data-signal] a").first().click()
    await page.getByRole("region", { name: "Payload" }).waitFor()
    expect(await page.getByRole("region", { name: "Payload" }).innerText()).toContain(`"amount": ${EXACT}`)
    expect(await page.getByRole("region", { name: "Content" }).innerText()).toBe("<b>no markup</b>")
    expect(await page.title()).toMatch(/^Signal \d+ · signal-ingest$/)
    await picture(page, "view-signal")
    await page.locator("dd a", { hasText: /^[0-9a-f-]{36}$/ }).click()
    await expect.poll(() => page.locator("[data-view] h2").innerText()).toBe("Batch")
    expectNoComplaints(watched)
    await page.context().close()
  })

  it("shows a batch with its failures", async () => {
    const watched = await open(`batches/${batch}`)
    const { page } = watched
    await expect.poll(() => page.locator("[data-failure]").count()).toBe(2)
    expect(await page.locator('[data-failure="1"]').innerText()).toContain(
      "signal_score must be between 0 and 1",
    )
    await picture(page, "view-batch")
    await page.getByRole("link", { name: "Batches" }).click()
    await expect.poll(() => page.locator("[data-view] [data-batch]").count()).toBe(BATCHES)
    expectNoComplaints(watched)
    await page.context().close()
  })

  it("shows the batches with a failure of a code, the meaning of the code, and a link to all batches", async () => {
    const watched = await open("")
    const { page } = watched
    await page.locator('[data-code="out_of_range"]').getByRole("link").click()
    await expect.poll(() => page.locator("[data-view] [data-batch]").count()).toBe(1)
    expect(await page.locator("[data-view]").innerText()).toContain(
      "A number or a time is outside the range of its field.",
    )
    await page.getByRole("link", { name: "with failures" }).click()
    // The third batch, and the records without a conversation.
    await expect.poll(() => page.locator("[data-view] [data-batch]").count()).toBe(2)
    expect(page.url()).toContain("#/batches?failed=true")
    await page.getByRole("link", { name: "all", exact: true }).click()
    await expect.poll(() => page.locator("[data-view] [data-batch]").count()).toBe(BATCHES)
    expectNoComplaints(watched)
    await page.context().close()
  })

  it("links a failed record of a batch to its own dead letter", async () => {
    await expect.poll(waitingDeadLetters).toBe(3)
    const response = await fetch(`${service.address}/api/dead-letters?state=waiting&limit=1`)
    const listed = (await response.json()) as { dead_letters: { transaction_id: string }[] }
    const watched = await open(`batches/${listed.dead_letters[0]?.transaction_id}`)
    const { page } = watched
    await page.locator('[data-failure="1"]').getByRole("link", { name: "1", exact: true }).click()
    await expect.poll(() => page.locator("[data-view] h2").innerText()).toMatch(/^Dead letter \d+$/)
    expect(await page.getByRole("region", { name: "Record" }).innerText()).toContain(
      '"raw_content": "second"',
    )
    expectNoComplaints(watched)
    await page.context().close()
  })

  it("replays and discards dead letters, one and all", async () => {
    await expect.poll(waitingDeadLetters).toBe(3)
    const watched = await open("dead-letters")
    const { page } = watched
    page.on("dialog", (dialog) => dialog.accept())
    const deadLetters = page.locator("[data-dead-letter]")
    await expect.poll(() => deadLetters.count()).toBe(3)
    await picture(page, "view-dead-letters", { fullPage: false })
    await page.getByRole("button", { name: "Replay all waiting" }).click()
    // What was done stays on the page when the list is shown again.
    await page.locator("[data-notice]", { hasText: "0 replayed, 3 failed again" }).waitFor()
    await page.locator("[data-view]:not([aria-busy])").waitFor()
    expect(await page.locator("[data-notice]").innerText()).toBe("0 replayed, 3 failed again")

    await deadLetters.first().getByRole("link").click()
    expect(await page.getByRole("region", { name: "Record" }).innerText()).toContain('"raw_content": "third"')
    await page.getByRole("button", { name: "Replay" }).click()
    await page.getByRole("status").filter({ hasText: "It still cannot be stored" }).waitFor()
    await page.getByRole("button", { name: "Discard" }).click()
    await page.locator("dd", { hasText: "discarded" }).waitFor()

    await page.getByRole("link", { name: "Dead letters" }).click()
    await page.getByRole("button", { name: "Discard these 2" }).click()
    await page.getByText("No dead letter is waiting.").waitFor()
    expect(await page.locator("[data-notice]").innerText()).toBe("2 discarded")
    await page.getByRole("link", { name: "discarded" }).click()
    await expect.poll(() => page.locator("[data-notice]").innerText()).toBe("")
    await expect.poll(() => deadLetters.count()).toBe(3)

    await post(
      "/webhooks/kafka",
      JSON.stringify(Array.from({ length: 60 }, () => ({ raw_content: "without a conversation" }))),
    )
    await expect.poll(waitingDeadLetters).toBe(60)
    await page.getByRole("link", { name: "waiting" }).click()
    await page.getByRole("button", { name: "Discard these 50" }).waitFor()
    await page.getByRole("button", { name: "Discard all waiting" }).click()
    await page.getByText("No dead letter is waiting.").waitFor()
    expect(await page.locator("[data-notice]").innerText()).toBe("60 discarded")
    expectNoComplaints(watched)
    await page.context().close()
  })

  it("shows what is stored, and what was erased", async () => {
    const erased = await fetch(`${service.address}/api/erasures`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user_id: "nobody" }),
    })
    expect(erased.status).toBe(202)
    const watched = await open("storage")
    const { page } = watched
    await page.locator("[data-partition]").first().waitFor()
    await page.locator("[data-erasure]", { hasText: "user_id" }).waitFor()
    expect(await page.locator("[data-view]").innerText()).toMatch(/Signals stay\s+forever/)
    await picture(page, "view-storage", { fullPage: false })
    expectNoComplaints(watched)
    await page.context().close()
  })

  it("explains an invalid address, and an address that has no page", async () => {
    const { page } = await open("signals/999999")
    await page.getByRole("alert").filter({ hasText: "No signal has this id." }).waitFor()
    await page.goto(`${service.address}/#/signals?since=yesterday`)
    await page.getByRole("alert").filter({ hasText: "since" }).waitFor()
    await page.goto(`${service.address}/#/nowhere`)
    await page.getByText("The dashboard has no page “nowhere”.").waitFor()
    await page.getByRole("link", { name: "Go to the overview" }).click()
    await page.locator('[data-panel="figures"]').waitFor()
    await page.context().close()
  })

  it("reads a view again on request, and shows when it was read", async () => {
    const watched = await open("signals?context_window_id=conv-later")
    const { page } = watched
    await page.getByText("No signal matches these filters.").waitFor()
    await post("/api/signals/batch", '{"signals":[{"context_window_id":"conv-later"}]}')
    await page.getByText(/Read at \d\d:\d\d:\d\d/).waitFor()
    await page.getByRole("button", { name: "Refresh" }).click()
    await expect.poll(() => page.locator("[data-view] [data-signal]").count()).toBe(1)
    expectNoComplaints(watched)
    await page.context().close()
  })

  it("shows every time with its zone and every stored digit", async () => {
    const watched = await open("signals/1", { timezoneId: "Asia/Kathmandu" })
    const { page } = watched
    await page.locator("dd time").first().waitFor()
    const response = await fetch(`${service.address}/api/signals/1`)
    const { received_at } = (await response.json()) as { received_at: string }
    const digits = /\.\d+/.exec(received_at)?.[0] ?? "?"
    const times = await page.locator("dd time").allInnerTexts()
    for (const text of times) expect(text).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? \+05:45$/)
    expect(times.some((text) => text.includes(`${digits} `))).toBe(true)
    expect(await page.locator("footer").innerText()).toContain("(UTC+05:45)")
    expectNoComplaints(watched)
    await page.context().close()
  })

  it("lists batches by the time that it shows, and marks a batch of which nothing was stored", async () => {
    const watched = await open("batches")
    const { page } = watched
    await page.locator("[data-view] [data-batch]").first().waitFor()
    const times = await page
      .locator("[data-view] [data-batch] time")
      .evaluateAll((all) => all.map((element) => element.getAttribute("datetime") ?? ""))
    expect(times).toEqual(times.toSorted().reverse())
    expect(await page.locator(`[data-view] [data-batch="${batch}"]`).innerText()).toContain("partly stored")
    expectNoComplaints(watched)
    await page.context().close()
  })

  it("has a skip link past the navigation, and names for its tables and the links of their rows", async () => {
    const watched = await open("signals")
    const { page } = watched
    await page.locator("[data-view] [data-signal]").first().waitFor()
    await page.locator("body").press("Tab")
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Skip to the content")
    await page.keyboard.press("Enter")
    expect(await page.evaluate(() => document.activeElement?.id)).toBe("main")
    expect(page.url()).toContain("#/signals")
    await page.getByRole("table", { name: "Signals" }).waitFor()
    const names = await page
      .locator("[data-view] [data-signal] td:first-child a")
      .evaluateAll((all) => all.map((element) => element.getAttribute("aria-label")))
    expect(new Set(names).size).toBe(names.length)
    expectNoComplaints(watched)
    await page.context().close()
  })

  it("cuts no column at any width", async () => {
    await post("/webhooks/kafka", JSON.stringify([{ raw_content: "without a conversation" }]))
    await expect.poll(waitingDeadLetters).toBeGreaterThan(0)
    for (const address of ["", "signals", "batches", "dead-letters", "storage"]) {
      const { page } = await open(address)
      await page.locator("[data-view]:not([aria-busy])").waitFor({ state: "attached" })
      await page.locator("td:visible").first().waitFor()
      for (let width = 320; width <= 1600; width += 80) {
        await page.setViewportSize({ width, height: 900 })
        const cut = await page
          .locator(".scroll:visible")
          .evaluateAll((boxes) =>
            boxes
              .filter((box) => box.scrollWidth > box.clientWidth)
              .map((box) => `${box.getAttribute("aria-label")}: ${box.scrollWidth} > ${box.clientWidth}`),
          )
        expect(cut, `${address} at ${width}`).toEqual([])
        expect(await scrollsSideways(page), `${address} at ${width}`).toBe(false)
      }
      await page.context().close()
    }
  })
})
