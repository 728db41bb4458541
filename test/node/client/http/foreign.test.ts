import { once } from "node:events"
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http"
import { createServer as createTlsServer } from "node:https"
import type { AddressInfo } from "node:net"
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { SignalClient, type SignalError } from "../../../../src/client/index.ts"
import { failureOf } from "../failure-of.ts"
import { CERTIFICATE } from "./certificate.ts"

/** What is not the service: it answers a request by its path, and remembers each request. */
let server: Server
let address: string
let answer: RequestListener
const seen: { method: string; path: string; key: string | undefined; body: string }[] = []

const listen = async (made: Server) => {
  made.listen(0, "127.0.0.1")
  await once(made, "listening")
  return (made.address() as AddressInfo).port
}
const close = async (made: Server) => {
  made.closeAllConnections()
  made.close()
  await once(made, "close")
}

beforeEach(async () => {
  seen.length = 0
  server = createServer(async (request, response) => {
    const { method = "", url: path = "", headers } = request
    seen.push({ method, path, key: headers.authorization, body: await bodyOf(request) })
    answer(request, response)
  })
  address = `http://127.0.0.1:${await listen(server)}`
})
afterEach(async () => {
  vi.restoreAllMocks()
  await close(server)
})

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

const SIGNAL = { context_window_id: "conv-foreign" }
const STORED = JSON.stringify({ id: 7, transaction_id: "t", ...SIGNAL })
const clientOf = (more: object = {}) =>
  new SignalClient({ url: address, key: "secret-key", deadlineMs: 5000, ...more })

describe("a redirect", () => {
  it.each([301, 302, 303])("with %i within the origin is an error, and is not followed", async (status) => {
    answer = (_, response) => response.writeHead(status, { Location: "/api/signals/" }).end()
    const error = await failureOf(clientOf().create(SIGNAL))
    expect(error).toMatchObject({ name: "RequestError", status })
    expect(error.message).toContain(`Location ${address}/api/signals/`)
    expect(seen).toHaveLength(1)
  })

  it.each([307, 308])("with %i within the origin is followed with method, body and key", async (status) => {
    answer = ({ url }, response) =>
      url === "/api/signals"
        ? response.writeHead(status, { Location: "/behind/api/signals" }).end()
        : response.end(STORED)
    expect(await clientOf().create(SIGNAL)).toMatchObject({ id: 7 })
    const call = { method: "POST", key: "Bearer secret-key", body: JSON.stringify(SIGNAL) }
    expect(seen).toEqual([
      { ...call, path: "/api/signals" },
      { ...call, path: "/behind/api/signals" },
    ])
  })

  it.each([301, 302, 303, 307, 308])(
    "with %i to another origin is an error, and sends the key nowhere",
    async (status) => {
      const elsewhere: unknown[] = []
      const other = createServer((request, response) => {
        elsewhere.push(request.url)
        response.end(STORED)
      })
      const target = `http://127.0.0.1:${await listen(other)}/api/signals`
      answer = (_, response) => response.writeHead(status, { Location: target }).end()
      const client = clientOf()
      const calls = [() => client.create(SIGNAL), () => client.stats(), () => client.discardDeadLetter(7)]
      for (const call of calls) {
        const error = await failureOf(call())
        expect([error.name, error.status]).toEqual(["RequestError", status])
        expect(error.message).toContain(`Location ${target}`)
      }
      expect(elsewhere).toEqual([])
      await close(other)
    },
  )

  it("that leads in a circle ends with an error", async () => {
    answer = (_, response) => response.writeHead(307, { Location: "/api/signals" }).end()
    expect((await failureOf(clientOf().create(SIGNAL))).message).toContain("redirect for the 6th time")
    expect(seen).toHaveLength(6)
  })
})

describe("the reason why a service cannot be reached", () => {
  const errorOf = (url: string) =>
    failureOf(new SignalClient({ url, deadlineMs: 400, key: "secret-key" }).stats())

  it("is in the sentence: an unknown host, and a port where nothing listens", async () => {
    expect((await errorOf("http://no-such-host.invalid")).message).toMatch(/ENOTFOUND|EAI_AGAIN/)
    expect((await errorOf("http://127.0.0.1:2")).message).toContain("ECONNREFUSED")
  })

  it("is in the sentence: a certificate, and https where there is none", async () => {
    const secure = createTlsServer(CERTIFICATE, (_, response) => response.end("{}"))
    expect((await errorOf(`https://127.0.0.1:${await listen(secure)}`)).message).toMatch(/certificate|CERT/)
    await close(secure)
    expect((await errorOf(address.replace("http:", "https:"))).message).toMatch(
      /SSL|packet length|wrong version/i,
    )
  })

  it("is that of the last answer, where the deadline ends the attempt after it", async () => {
    let calls = 0
    answer = (_, response) => {
      if (++calls === 1) response.writeHead(502).end("the first answer")
    }
    const { message } = await failureOf(new SignalClient({ url: address, deadlineMs: 2000 }).stats())
    expect([calls, message]).toEqual([2, expect.stringContaining("502")])
    expect(message).not.toContain("no answer in time")
  })

  it("ends the call at once when fetch refuses the port", async () => {
    const client = new SignalClient({ url: "http://127.0.0.1:6666", deadlineMs: 60_000 })
    expect(await failureOf(client.stats())).toMatchObject({
      name: "RequestError",
      message: expect.stringContaining("bad port"),
    })
  })
})

describe("the key", () => {
  it("is in no message, although a proxy repeats the headers that it got", async () => {
    answer = ({ headers }, response) =>
      response.writeHead(403).end(JSON.stringify({ detail: `not for ${headers.authorization}` }))
    expect((await failureOf(clientOf().create(SIGNAL))).message).toBe("not for Bearer [key]")
  })

  it("is in no message about a header of the caller, nor is its value", async () => {
    const call = clientOf().create(SIGNAL, { headers: { cookie: "secret\nvalue" } })
    const error = await failureOf(call)
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toContain('"cookie"')
    expect(error.message).not.toContain("secret")
    expect(seen).toEqual([])
  })
})

describe("the clock", () => {
  const retried = async (shiftMs: number) => {
    answer = (_, response) => response.writeHead(503, { "Retry-After": "0" }).end()
    const now = Date.now
    const began = performance.now()
    let attempts = 0
    const error = await failureOf(
      clientOf({ deadlineMs: 600 }).stats(
        {},
        {
          onRetry() {
            attempts++
            vi.spyOn(Date, "now").mockImplementation(() => now() + shiftMs)
          },
        },
      ),
    )
    return { name: error.name, attempts, tookMs: performance.now() - began }
  }

  it("of the machine may be set back an hour, and the deadline stays the same", async () => {
    const { name, attempts } = await retried(-3_600_000)
    expect(name).toBe("DeadlineError")
    expect(attempts).toBeGreaterThan(0)
  })

  it("of the machine may be set forward an hour, and the call is still tried", async () => {
    const { name, attempts } = await retried(3_600_000)
    expect(name).toBe("DeadlineError")
    expect(attempts).toBeGreaterThan(1)
  })
})

describe("the path of url", () => {
  it.each(["/ingest", "/ingest/", "/a/b"])("is kept: %s", async (path) => {
    answer = (_, response) => response.end(STORED)
    await new SignalClient({ url: `${address}${path}` }).create(SIGNAL)
    expect(seen[0]?.path).toBe(`${path.replace(/\/$/, "")}/api/signals`)
  })
})

describe("the feed", () => {
  it("has the deadline of its client", async () => {
    answer = () => {}
    const error = (await failureOf(
      clientOf({ deadlineMs: 300 }).feed({ follow: false }).next(),
    )) as SignalError
    expect(error.message).toContain("no answer within 300 ms")
  })
})
