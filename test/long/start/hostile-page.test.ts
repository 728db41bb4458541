import { execFile } from "node:child_process"
import { once } from "node:events"
import { createServer, type IncomingMessage, request } from "node:http"
import type { AddressInfo } from "node:net"
import { promisify } from "node:util"
import type { Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { freePort } from "../../../src/local/machine/ports.ts"
import { CHROMIUM, openBrowser } from "../../setup/browser.ts"
import { dataFolder, endAll, READY, start } from "./npm-start.ts"

let folder: string
let port: number
let service: ReturnType<typeof start>

beforeAll(async () => {
  folder = await dataFolder()
  port = await freePort()
  service = start(["--port", String(port), "--data", folder], { SLACK_SIGNING_SECRET: "s3cret" })
  await service.saying(READY)
})
afterAll(async () => {
  service?.child.kill("SIGTERM")
  await service?.ended
  await endAll(folder)
})

/**
 * Every TCP port on which a process that npm start started listens, Postgres' apart, which speaks no HTTP.
 */
async function listeners(): Promise<number[]> {
  const pids = new Set([
    service.child.pid,
    ...(await service.processes()).filter(({ command }) => !/postgres/.test(command)).map(({ pid }) => pid),
  ])
  const { stdout } = await promisify(execFile)("ss", ["-Hltnp"])
  return stdout
    .split("\n")
    .filter((line) => [...line.matchAll(/pid=(\d+)/g)].some(([, pid]) => pids.has(Number(pid))))
    .map((line) => Number(/:(\d+)\s/.exec(line)?.[1]))
}

/**
 * By Node's own client, which, unlike fetch, sends any header. Returns the answer's first 2,000 characters.
 */
async function ask(to: number, path: string, headers: Record<string, string>, method = "GET", body = "") {
  const sent = request({
    host: "127.0.0.1",
    port: to,
    path,
    method,
    headers: { ...headers, "Content-Length": String(Buffer.byteLength(body)) },
  })
  sent.setTimeout(10_000, () => sent.destroy())
  sent.end(body)
  const answer = await Promise.race([
    once(sent, "response").then(([response]) => response as IncomingMessage),
    once(sent, "upgrade").then(() => "upgraded" as const),
  ]).catch(() => "refused" as const)
  if (typeof answer === "string") return { status: answer === "upgraded" ? 101 : 0, headers: {}, text: "" }
  let text = ""
  for await (const part of answer) text += part
  return { status: answer.statusCode ?? 0, headers: answer.headers, text: text.slice(0, 2000) }
}

const PAGE = { Origin: "https://evil.example", "Sec-Fetch-Site": "cross-site" }
const WEBSOCKET = {
  Connection: "Upgrade",
  Upgrade: "websocket",
  "Sec-WebSocket-Version": "13",
  "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}

const signal = JSON.stringify({ context_window_id: "from a page" })

describe("a web page, at every port that npm start opens,", () => {
  it("finds no debugger", async () => {
    const ports = await listeners()
    expect(ports).toContain(port)
    for (const to of ports) {
      for (const path of ["/json", "/json/list", "/json/version"])
        expect((await ask(to, path, {})).text, `${to}${path}`).not.toMatch(/webSocketDebuggerUrl|devtools/i)
      for (const path of ["/", "/core:user:signal-ingest"])
        expect(
          (await ask(to, path, { ...WEBSOCKET, Origin: "https://evil.example" })).status,
          `${to}${path}`,
        ).not.toBe(101)
    }
  })

  it.each([
    ["its origin", PAGE],
    ["no origin, as for an image", { "Sec-Fetch-Site": "cross-site" }],
    ["a subdomain's site", { "Sec-Fetch-Site": "same-site" }],
    ["a name that points at this machine", { Host: "evil.example" }],
    [
      "such a name, from its own page",
      { Host: "evil.example", Origin: "http://evil.example", "Sec-Fetch-Site": "same-origin" },
    ],
  ])("reads nothing and writes nothing, with %s", async (_, headers) => {
    for (const to of await listeners()) {
      const written = await ask(
        to,
        "/api/signals",
        { ...headers, "Content-Type": "text/plain" },
        "POST",
        signal,
      )
      expect(written.status, `writing at ${to}`).not.toBe(201)
      for (const path of [
        "/api/signals",
        "/api/metrics",
        "/api/batches",
        "/metrics",
        "/cdn-cgi/explorer/api/r2/buckets",
        "/cdn-cgi/handler/scheduled",
      ]) {
        const read = await ask(to, path, headers)
        expect(read.status, `reading ${to}${path}`).not.toBe(200)
        expect(read.headers).not.toHaveProperty("access-control-allow-origin")
        expect(read.text).not.toContain("s3cret")
      }
    }
    const own = await (
      await fetch(`http://localhost:${port}/api/signals?context_window_id=from%20a%20page`)
    ).json()
    expect((own as { signals: unknown[] }).signals).toEqual([])
  })

  it("cannot call the controls that only npm start may call", async () => {
    for (const path of ["/local/stop", "/local/resume", "/local/scheduled"])
      expect((await ask(port, path, { Authorization: "Bearer guess" }, "POST")).status).toBe(404)
    expect((await fetch(`http://localhost:${port}/readyz`)).status).toBe(200)
  })
})

describe.skipIf(!CHROMIUM)("a page of another site in Chromium", () => {
  it("neither writes nor reads, unlike the service's own page", async () => {
    const site = createServer((_, response) => response.setHeader("Content-Type", "text/html").end("<p>evil"))
    site.listen(0, "127.0.0.1")
    await once(site, "listening")
    const browser = await openBrowser()
    try {
      const page = await browser.newPage()
      await page.goto(`http://evil.localhost:${(site.address() as AddressInfo).port}/`)
      for (const to of await listeners()) await attack(page, to)
      await page.goto(`http://localhost:${port}/`)
      const own = await page.evaluate(
        async () =>
          (await (await fetch("/api/signals?limit=1000")).json()) as {
            signals: { context_window_id: string }[]
          },
      )
      expect(own.signals.filter(({ context_window_id: id }) => id === "from Chromium")).toEqual([])
    } finally {
      await browser.close()
      site.close()
    }
  })

  /** What a page can send without a preflight, and a WebSocket. */
  async function attack(page: Page, to: number): Promise<void> {
    const seen = await page.evaluate(async (to) => {
      const address = `http://127.0.0.1:${to}`
      const body = new Blob(['{"context_window_id":"from Chromium"}'])
      await fetch(`${address}/api/signals`, { method: "POST", mode: "no-cors", body }).catch(() => undefined)
      const read = await fetch(`${address}/api/signals`).then(
        (answer) => answer.text(),
        () => "",
      )
      const socket = await new Promise<string>((resolve) => {
        const opened = new WebSocket(`ws://127.0.0.1:${to}/core:user:signal-ingest`)
        opened.onopen = () => resolve("open")
        opened.onerror = () => resolve("closed")
      })
      return { read, socket }
    }, to)
    expect(seen).toEqual({ read: "", socket: "closed" })
  }
})
