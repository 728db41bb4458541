import { createHash } from "node:crypto"
import { once } from "node:events"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { fileURLToPath } from "node:url"
import { build } from "esbuild"
import type { Browser } from "playwright-core"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type * as library from "../../../src/client/index.ts"
import { SignalClient } from "../../../src/client/index.ts"
import { CHROMIUM, openBrowser } from "../../setup/browser.ts"
import { type Rig, startRig } from "../../setup/rig.ts"

const entry = fileURLToPath(new URL("../../../src/client/index.ts", import.meta.url))

/** The library as a script that sets the global `signalIngest`. */
async function libraryScript(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    format: "iife",
    globalName: "signalIngest",
    write: false,
  })
  return outputFiles[0]?.text ?? ""
}

describe.runIf(CHROMIUM)("the client library in a browser", () => {
  let rig: Rig
  let browser: Browser
  beforeAll(async () => {
    ;[rig, browser] = await Promise.all([startRig(), openBrowser()])
  })
  afterAll(async () => {
    await browser?.close()
    await rig?.stop()
  })

  it("stores and lists signals of the page's own origin", async () => {
    const context = await browser.newContext({ bypassCSP: true })
    const page = await context.newPage()
    await page.goto(`${rig.service.address}/healthz`)
    await page.addScriptTag({ content: await libraryScript() })
    const listed = await page.evaluate(async () => {
      const { BatchProcessor, SignalClient } = (globalThis as unknown as { signalIngest: typeof library })
        .signalIngest
      const client = new SignalClient({ url: location.origin })
      const processor = new BatchProcessor(client)
      for (let index = 0; index < 250; index++)
        await processor.add({ context_window_id: "conv-browser", raw_content: String(index) })
      await processor.close()
      let count = 0
      for await (const _ of client.list({ context_window_id: "conv-browser" })) count++
      return count
    })
    expect(listed).toBe(250)
  })
})

describe.runIf(CHROMIUM)("the client library in a page of another origin", () => {
  const KEY = "a-key-for-pages"
  const READ_KEY = "a-key-for-readers"
  const sha256 = (key: string) => createHash("sha256").update(key).digest("hex")
  const API_KEYS = JSON.stringify([
    { name: "page", sha256: sha256(KEY), scopes: ["ingest"] },
    { name: "reader", sha256: sha256(READ_KEY), scopes: ["read"] },
  ])
  let rig: Rig
  let browser: Browser
  let site: Server
  let port: number
  beforeAll(async () => {
    site = createServer((_, response) =>
      response.setHeader("Content-Type", "text/html").end("<p>an application"),
    )
    site.listen(0, "127.0.0.1")
    await once(site, "listening")
    port = (site.address() as AddressInfo).port
    const settings = { OPEN_ACCESS: "false", API_KEYS, CORS_ORIGINS: `http://app.localhost:${port}` }
    ;[rig, browser] = await Promise.all([startRig(settings), openBrowser()])
  })
  afterAll(async () => {
    await browser?.close()
    await rig?.stop()
    site?.close()
  })

  /** Sends batches from a page, and returns what the library made of the answers. */
  async function sendFrom(host: string, key = KEY) {
    const page = await browser.newPage()
    const encodings: (string | undefined)[] = []
    page.on("request", (request) => {
      if (request.method() === "POST") encodings.push(request.headers()["content-encoding"])
    })
    await page.goto(`http://${host}:${port}/`)
    await page.addScriptTag({ content: await libraryScript() })
    const outcome = await page.evaluate(
      async ({ url, key, host }) => {
        const { SignalClient, SignalError } = (globalThis as unknown as { signalIngest: typeof library })
          .signalIngest
        const client = new SignalClient({ url, key, deadlineMs: 3000 })
        const signals = Array.from({ length: 40 }, (_, index) => ({
          context_window_id: host,
          raw_content: String(index),
        }))
        try {
          await client.createBatch(signals)
          const { successful_count } = await client.createBatch(signals)
          return { successful_count }
        } catch (error) {
          return error instanceof SignalError
            ? { name: error.name, status: error.status, requestId: error.requestId }
            : String(error)
        }
      },
      { url: rig.service.address, key, host },
    )
    await page.close()
    const [row] = await rig.query<{ count: number }>(
      "select count(*)::int4 as count from signals where context_window_id = $1",
      [host],
    )
    return { outcome, encodings, stored: row?.count }
  }

  it("stores signals, and reads what the service accepts from the answer", async () => {
    const { outcome, encodings, stored } = await sendFrom("app.localhost")
    expect([outcome, stored]).toEqual([{ successful_count: 40 }, 80])
    // The second batch is compressed, since the page may read Accept-Encoding of the first answer.
    expect(encodings).toEqual([undefined, "gzip"])
  })

  it("reads an error and the id of its request", async () => {
    const { outcome, stored } = await sendFrom("app.localhost", "guess")
    expect(outcome).toEqual({
      name: "UnauthorizedError",
      status: 401,
      requestId: expect.stringMatching(/^[\da-f-]{36}$/),
    })
    expect(stored).toBe(80)
  })

  /** Follows the feed in a page of its own from `after` on, until it has so many signals. */
  async function follow(after: string, count: number) {
    const page = await browser.newPage()
    await page.goto(`http://app.localhost:${port}/`)
    await page.addScriptTag({ content: await libraryScript() })
    const followed = await page.evaluate(
      async ({ url, key, after, count }) => {
        const { SignalClient } = (globalThis as unknown as { signalIngest: typeof library }).signalIngest
        const stop = new AbortController()
        const seen: number[] = []
        let cursor = after
        for await (const { signals, next_cursor } of new SignalClient({ url, key }).feed({
          after,
          wait: 2,
          signal: stop.signal,
        })) {
          seen.push(...signals.map(({ raw_content }) => Number(raw_content)))
          cursor = next_cursor
          if (seen.length >= count) stop.abort()
        }
        return { seen, cursor }
      },
      { url: rig.service.address, key: READ_KEY, after, count },
    )
    await page.close()
    return followed
  }

  it("follows the feed while others store, and continues where another page stopped", async () => {
    const client = new SignalClient({ url: rig.service.address, key: KEY })
    let done = false
    const storing = (async () => {
      for (let index = 0; !done; index++)
        await client.create({ context_window_id: "conv-feed", raw_content: String(index) })
    })()
    const first = await follow("now", 5).finally(() => {
      done = true
    })
    await storing
    await client.createBatch([{ context_window_id: "conv-feed", raw_content: "1000000" }])
    const second = await follow(first.cursor, 1)
    const [begin = -1] = first.seen
    expect(first.seen.length).toBeGreaterThanOrEqual(5)
    expect(first.seen).toEqual(first.seen.map((_, index) => begin + index))
    // All that the first page has not seen, the last of it alone or with what was stored while that page
    // closed.
    const rest: number[] = [...second.seen]
    for (let cursor = second.cursor; rest.at(-1) !== 1_000_000; ) {
      const more = await follow(cursor, 1)
      rest.push(...more.seen)
      cursor = more.cursor
    }
    expect(rest.slice(0, -1)).toEqual(rest.slice(0, -1).map((_, index) => begin + first.seen.length + index))
  })

  it("stores nothing from an origin that is not configured", async () => {
    const { outcome, stored } = await sendFrom("other.localhost")
    expect([outcome, stored]).toEqual([{ name: "DeadlineError", status: undefined, requestId: undefined }, 0])
  })
})
