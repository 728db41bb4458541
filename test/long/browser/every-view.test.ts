import { createHash } from "node:crypto"
import { AxeBuilder } from "@axe-core/playwright"
import type { Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import {
  CHROMIUM,
  expectNoComplaints,
  picture,
  scrollsSideways,
  type WatchedPage,
} from "../../setup/browser.ts"
import { useLocalPages } from "../../setup/hooks/pages.ts"
import { waitFor } from "../../setup/hooks/wait-for.ts"
import { type Receiver, startReceiver } from "../../setup/vitest/receiver.ts"

const KEY = "root-key"
const API_KEYS = JSON.stringify([
  {
    name: "root",
    scopes: ["ingest", "read", "bridge", "admin"],
    sha256: createHash("sha256").update(KEY).digest("hex"),
  },
])

const LOOKS = [
  { look: "light", colorScheme: "light", width: 1280, height: 900 },
  { look: "dark", colorScheme: "dark", width: 1280, height: 900 },
  { look: "phone-light", colorScheme: "light", width: 390, height: 844 },
  { look: "phone-dark", colorScheme: "dark", width: 390, height: 844 },
] as const

/** The boxes that scroll sideways, so that a column is cut. */
const cutBoxes = (page: Page) =>
  page
    .locator(".scroll:visible")
    .evaluateAll((boxes) =>
      boxes
        .filter((box) => box.scrollWidth > box.clientWidth)
        .map((box) => `${box.getAttribute("aria-label")}: ${box.scrollWidth} > ${box.clientWidth}`),
    )

describe.runIf(CHROMIUM)("every view of the dashboard", () => {
  const pages = useLocalPages({ API_KEYS, SUBSCRIPTION_LOCAL_RECEIVERS: "true" })
  let receiver: Receiver
  let watched: WatchedPage

  beforeAll(async () => {
    receiver = await startReceiver()
    watched = await pages.open("/")
    // The key as this tab would keep it.
    await watched.page.getByLabel("Key", { exact: true }).fill(KEY)
    await watched.page.getByRole("button", { name: "Use this key" }).click()
    await watched.page.locator("[data-first]:not([hidden])").waitFor()
  })
  afterAll(() => receiver?.stop())

  const call = async (method: string, path: string, body?: unknown) => {
    const response = await fetch(`${pages.address}${path}`, {
      method,
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${KEY}` },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    expect(response.status, path).toBeLessThan(300)
    return await response.json()
  }

  async function fill(): Promise<string> {
    const signals = Array.from({ length: 14 }, (_, index) => ({
      context_window_id: `support/${index % 7}`,
      signal_source: index % 3 ? "slack" : "kafka",
      raw_content: `Message ${index}: the parcel has not arrived, and nobody answers. `.repeat(
        (index % 4) + 1,
      ),
      user_id: `customer-${index % 11}@example.com`,
      signal_score: (index % 10) / 10,
      escalate_flag: index % 9 === 0 ? 1 : 0,
      payload: { room: "a", order: { number: 1000 + index, items: ["lamp", "cable"] } },
    }))
    await call("POST", "/api/signals/batch", { signals })
    await call("POST", "/api/scores", {
      scores: [0.25, 0.75].map((signal_score, index) => ({
        signal_id: 1,
        signal_score,
        emotional_tone: index ? null : 0.5,
        escalate_flag: index,
        scorer: "sentiment-model-2026-11",
        scored_at: `2026-11-0${index + 1}T00:00:00.123456Z`,
      })),
    })
    const failed = await call("POST", "/api/signals/batch", {
      signals: [
        { context_window_id: "c", signal_score: 2 },
        { context_window_id: " " },
        { context_window_id: "c" },
      ],
    })
    await call("POST", "/webhooks/kafka", [{ raw_content: "a record without a conversation" }])
    await call("POST", "/api/keys", { name: "importer", scopes: ["ingest", "bridge"] })
    await call("POST", "/api/keys", {
      name: "dashboard.support-desk",
      scopes: ["read"],
      expires_at: "2030-01-01T00:00:00Z",
    })
    receiver.reply("all", [{ status: 503 }], { forever: true })
    await call("POST", "/api/subscriptions", { name: "everything", url: receiver.at("all"), filter: {} })
    await call("POST", "/api/subscriptions", {
      name: "escalations-of-support",
      url: receiver.at("some"),
      filter: { escalate_flag: 1, signal_source: "slack" },
    })
    await call("POST", "/api/signals", {
      context_window_id: "support/1",
      escalate_flag: 1,
      signal_source: "slack",
    })
    await waitFor(() => expect(receiver.calls("all").length).toBeGreaterThan(0))
    await waitFor(() => expect(receiver.calls("some").length).toBeGreaterThan(0))
    await call("POST", "/api/erasures", { user_id: "nobody" })
    await waitFor(async () => expect((await call("GET", "/api/dead-letters")).dead_letters).toHaveLength(1))
    return failed.transaction_id
  }

  /** Looks at a view in each look, with a picture of each. */
  async function expectGood(address: string, name: string): Promise<void> {
    const { page } = watched
    await page.goto(`${pages.address}/#/${address}`)
    if (address === "") await page.getByText("Updated").waitFor()
    else await page.locator("[data-view]:not([hidden]):not([aria-busy])").waitFor()
    for (const { look, colorScheme, width, height } of LOOKS) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" })
      await page.setViewportSize({ width, height })
      await picture(page, `every-${name}-${look}`)
      const { violations, passes } = await new AxeBuilder({ page }).analyze()
      console.log(`axe ${name} ${look}: ${violations.length} violations, ${passes.length} rules passed`)
      expect(
        violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`),
        `${name} ${look}`,
      ).toEqual([])
      expect(await scrollsSideways(page), `${name} ${look}`).toBe(false)
      expect(await cutBoxes(page), `${name} ${look}`).toEqual([])
    }
    expectNoComplaints(watched)
  }

  it.each([
    ["", "overview"],
    ["signals", "signals"],
    ["batches", "batches"],
    ["dead-letters", "dead-letters"],
    ["subscriptions", "subscriptions"],
    ["storage", "storage"],
    ["keys", "keys"],
    ["nowhere", "unknown"],
  ])("is whole and readable while nothing is stored: #/%s", (address, name) =>
    expectGood(address, `${name}-empty`),
  )

  describe("with data", () => {
    let batch: string
    beforeAll(async () => {
      batch = await fill()
    })

    it.each([
      ["", "overview"],
      ["signals", "signals"],
      ["signals?q=parcel&payload.room=a&min_score=0.5", "search"],
      ["signals/1", "signal"],
      ["batches", "batches"],
      ["batches/BATCH", "batch"],
      ["dead-letters", "dead-letters"],
      ["dead-letters/1", "dead-letter"],
      ["subscriptions", "subscriptions"],
      ["storage", "storage"],
      ["keys", "keys"],
    ])("is whole and readable: #/%s", (address, name) => expectGood(address.replace("BATCH", batch), name))
  })
})
