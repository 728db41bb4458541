import { fileURLToPath } from "node:url"
import { build } from "esbuild"
import type { Browser } from "playwright-core"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type * as library from "../../../src/client/index.ts"
import { CHROMIUM, openBrowser } from "../../setup/browser.ts"
import { type Rig, startRig } from "../../setup/rig.ts"

describe.runIf(CHROMIUM)("the client library in a browser", { timeout: 60_000 }, () => {
  let rig: Rig
  let browser: Browser
  beforeAll(async () => {
    ;[rig, browser] = await Promise.all([startRig(), openBrowser()])
  }, 60_000)
  afterAll(async () => {
    await browser?.close()
    await rig?.stop()
  })

  it("stores and lists signals of the page's own origin", async () => {
    const entry = fileURLToPath(new URL("../../../src/client/index.ts", import.meta.url))
    const { outputFiles } = await build({
      entryPoints: [entry],
      bundle: true,
      format: "iife",
      globalName: "signalIngest",
      write: false,
    })
    const context = await browser.newContext({ bypassCSP: true })
    const page = await context.newPage()
    await page.goto(`${rig.service.address}/healthz`)
    await page.addScriptTag({ content: outputFiles[0]?.text ?? "" })
    const listed = await page.evaluate(async () => {
      const { BatchProcessor, SignalClient } = (globalThis as unknown as { signalIngest: typeof library }).signalIngest
      const client = new SignalClient({ url: location.origin })
      const processor = new BatchProcessor(client)
      for (let place = 0; place < 250; place++)
        await processor.add({ context_window_id: "conv-browser", raw_content: String(place) })
      await processor.close()
      let count = 0
      for await (const _ of client.list({ context_window_id: "conv-browser" })) count++
      return count
    })
    expect(listed).toBe(250)
  })
})
