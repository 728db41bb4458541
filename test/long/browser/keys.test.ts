import { createHash } from "node:crypto"
import { describe, expect, it } from "vitest"
import {
  CHROMIUM,
  expectNoComplaints,
  picture,
  scrollsSideways,
  seriousFindings,
} from "../../setup/browser.ts"
import { useLocalPages } from "../../setup/hooks/pages.ts"

const API_KEYS = JSON.stringify([
  {
    name: "root",
    scopes: ["ingest", "read", "bridge", "admin"],
    sha256: createHash("sha256").update("root-key").digest("hex"),
  },
])

describe.runIf(CHROMIUM)("the dashboard's page of keys", () => {
  const pages = useLocalPages({ API_KEYS })

  it("makes a key that is shown once, rotates it and revokes it", async () => {
    const watched = await pages.open()
    const { page } = watched
    page.on("dialog", (dialog) => void dialog.accept())
    await page.getByLabel("Key", { exact: true }).fill("root-key")
    await page.getByRole("button", { name: "Use this key" }).click()
    await page.getByRole("link", { name: "Keys" }).click()
    await page.getByText("No key was made at run time.").waitFor()
    await picture(page, "view-keys-empty", { fullPage: false })

    await page.getByLabel("Name of the sender").fill("importer")
    await page.getByRole("button", { name: "Make a key" }).click()
    await page.getByText("Choose what the key may do.").waitFor()
    await page.getByLabel("ingest: send signals").check()
    await page.getByRole("button", { name: "Make a key" }).click()
    const shown = page.locator("[data-made-key] pre")
    await shown.waitFor()
    const key = await shown.innerText()
    expect(key).toMatch(/^si_live_\w{49}$/)
    const sent = await fetch(`${pages.address}/api/signals`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
      body: '{"context_window_id":"conv-key"}',
    })
    expect(sent.status).toBe(201)

    await page.getByRole("button", { name: "Refresh" }).click()
    await expect.poll(() => page.locator("[data-key]").count()).toBe(1)
    expect(await page.locator("body").innerText()).not.toContain(key)
    await page.getByRole("button", { name: "Rotate" }).click()
    await shown.waitFor()
    expect(await shown.innerText()).not.toBe(key)
    await page.getByRole("button", { name: "Refresh" }).click()
    await expect.poll(() => page.locator("[data-key]").count()).toBe(2)
    await page.locator("[data-key]").last().getByRole("button", { name: "Revoke" }).click()
    await page.locator("[data-notice]", { hasText: "The key of importer is revoked." }).waitFor()
    await expect.poll(() => page.locator("[data-key]").last().innerText()).toContain("revoked")
    await picture(page, "view-keys", { fullPage: false })
    expect(await seriousFindings(page)).toEqual([])
    await page.setViewportSize({ width: 390, height: 800 })
    expect(await scrollsSideways(page)).toBe(false)
    await picture(page, "view-keys-phone", { fullPage: false })
    expectNoComplaints(watched)
  })
})
