import { describe, expect, it } from "vitest"
import {
  CHROMIUM,
  expectNoComplaints,
  picture,
  scrollsSideways,
  seriousFindings,
} from "../../setup/browser.ts"
import { useLocalPages } from "../../setup/hooks/pages.ts"

describe.runIf(CHROMIUM)("the API reference", () => {
  const pages = useLocalPages()

  it.each([
    ["docs-light", { colorScheme: "light" as const }],
    ["docs-dark", { colorScheme: "dark" as const }],
    ["docs-phone", { colorScheme: "light" as const, viewport: { width: 360, height: 740 } }],
  ])(
    "shows every operation of the description, and sends no request to another origin: %s",
    async (name, options) => {
      const description = (await (await fetch(`${pages.address}/openapi.json`)).json()) as {
        paths: Record<string, Record<string, { summary: string }>>
      }
      const summaries = Object.values(description.paths).flatMap((operations) =>
        Object.values(operations).map(({ summary }) => summary),
      )
      expect(summaries.length).toBeGreaterThan(10)

      const watched = await pages.open("/docs", options)
      const { page } = watched
      for (const summary of summaries) await page.getByText(summary).first().waitFor({ state: "attached" })
      await page.getByRole("heading", { name: "signal-ingest" }).first().waitFor()
      await picture(page, name, { fullPage: false })
      expect(await scrollsSideways(page)).toBe(false)
      expect(await seriousFindings(page)).toEqual([])
      expectNoComplaints(watched)
      await page.context().close()
    },
  )
})
