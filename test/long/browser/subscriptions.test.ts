import { describe, expect, it } from "vitest"
import {
  CHROMIUM,
  expectNoComplaints,
  picture,
  scrollsSideways,
  seriousFindings,
} from "../../setup/browser.ts"
import { useLocalPages } from "../../setup/hooks/pages.ts"
import { startReceiver } from "../../setup/vitest/receiver.ts"

describe.runIf(CHROMIUM)("the dashboard's page of subscriptions", () => {
  const pages = useLocalPages({ SUBSCRIPTION_LOCAL_RECEIVERS: "true" })

  const post = (path: string, body: object) =>
    fetch(pages.address + path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    })

  it("shows state and answers, tests, retries, pauses and resumes", async () => {
    const receiver = await startReceiver()
    const watched = await pages.open("/#/subscriptions")
    const { page } = watched
    await page.getByText("Nobody is called about new signals.").waitFor()
    await picture(page, "view-subscriptions-empty", { fullPage: false })

    const created = await post("/api/subscriptions", {
      name: "escalations",
      url: receiver.at("a"),
      filter: { escalate_flag: 1 },
    })
    expect(created.status).toBe(201)
    receiver.reply("a", [{ status: 503 }, { status: 503 }])
    await post("/api/signals", { context_window_id: "conv-a", escalate_flag: 1 })
    // The queue of npm start wakes the deliveries.
    await expect.poll(() => receiver.calls("a").length).toBeGreaterThan(0)
    await page.getByRole("button", { name: "Refresh" }).click()
    const row = page.locator("[data-subscription]")
    await expect.poll(() => row.innerText()).toContain("HTTP 503")
    await picture(page, "view-subscriptions", { fullPage: false })
    receiver.reply("a", [])

    await row.getByRole("button", { name: "Test" }).click()
    await page.getByText(/^Accepted after \d+ ms\.$/).waitFor()
    const before = receiver.calls("a").length
    if (await row.getByRole("button", { name: "Retry now" }).isVisible())
      await row.getByRole("button", { name: "Retry now" }).click()
    await expect.poll(() => receiver.calls("a").length).toBeGreaterThanOrEqual(before)
    await expect
      .poll(async () => {
        await page.getByRole("button", { name: "Refresh" }).click()
        return row.innerText()
      })
      .toContain("HTTP 200")

    await row.getByRole("button", { name: "Pause" }).click()
    await page.locator("[data-notice]", { hasText: "escalations is paused." }).waitFor()
    await row.getByRole("button", { name: "Resume" }).click()
    await page.locator("[data-notice]", { hasText: "escalations is resumed." }).waitFor()
    expect(await seriousFindings(page)).toEqual([])
    await page.setViewportSize({ width: 390, height: 800 })
    expect(await scrollsSideways(page)).toBe(false)
    await picture(page, "view-subscriptions-phone", { fullPage: false })
    expectNoComplaints(watched)
    await receiver.stop()
  })
})
