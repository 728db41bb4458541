import { createHash } from "node:crypto"
import { describe, expect, it } from "vitest"
import { CHROMIUM, expectNoComplaints, picture, seriousFindings } from "../../setup/browser.ts"
import { useLocalPages } from "../../setup/hooks/pages.ts"

const KEY = "a-key-that-may-read"
const API_KEYS = JSON.stringify([
  { name: "viewer", sha256: createHash("sha256").update(KEY).digest("hex"), scopes: ["read", "ingest"] },
])

describe.runIf(CHROMIUM)("the dashboard of a service that asks for keys", () => {
  const pages = useLocalPages({ API_KEYS })

  it("is requested, refused when it is wrong, and kept only in this tab's session", async () => {
    const sent = await fetch(`${pages.address}/api/signals`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${KEY}` },
      body: JSON.stringify({ context_window_id: "conv-key" }),
    })
    expect(sent.status).toBe(201)
    const watched = await pages.open()
    const { page } = watched
    const form = page.locator("[data-key-form]")
    await form.waitFor()
    await picture(page, "dashboard-key")
    expect(await seriousFindings(page)).toEqual([])

    await page.getByLabel("Key", { exact: true }).fill("another")
    await page.keyboard.press("Enter")
    await page.locator("[data-key-refusal]", { hasText: "This API key is not known." }).waitFor()

    await page.getByLabel("Key", { exact: true }).fill(KEY)
    await page.getByRole("button", { name: "Use this key" }).click()
    await page.locator('[data-panel="figures"][data-state="fresh"]').waitFor()
    expect(await form.isVisible()).toBe(false)

    const kept = await page.evaluate(() => ({
      session: Object.values(sessionStorage),
      local: localStorage.length,
      cookie: document.cookie,
    }))
    expect(kept).toEqual({ session: [KEY], local: 0, cookie: "" })
    expect(page.url()).not.toContain(KEY)
    expectNoComplaints(watched)

    await page.reload()
    await page.locator('[data-panel="figures"][data-state="fresh"]').waitFor()
    const elsewhere = await pages.open()
    await elsewhere.page.locator("[data-key-form]").waitFor()

    await page.getByRole("button", { name: "Forget key" }).click()
    await form.waitFor()
    expect(await page.evaluate(() => sessionStorage.length)).toBe(0)
  })
})
