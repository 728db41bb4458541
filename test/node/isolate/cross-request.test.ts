import { mkdtemp, rm } from "node:fs/promises"
import { connect, type Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { build } from "esbuild"
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from "vitest"
import { type RunningBundle, runBundle } from "../../setup/workerd.ts"

/** Dispatches a promise that another request resolves to the request that made it. On by default. */
const RESOLUTION = "handle_cross_request_promise_resolution"
const SIGNAL = "enable_request_signal"

let folder: string
const { compatibilityDate, compatibilityFlags } = inject("bundle")

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-lines-"))
  const entryPoints = [join(import.meta.dirname, "worker.ts")]
  await build({ entryPoints, outfile: join(folder, "index.js"), bundle: true, format: "esm" })
})
afterAll(() => rm(folder, { recursive: true, force: true }))

let worker: RunningBundle
const sockets: Socket[] = []
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  await worker?.stop()
})

const start = async (flags: string[]) => {
  worker = await runBundle(
    { path: join(folder, "index.js"), compatibilityDate, compatibilityFlags: flags },
    {},
  )
  await seen([])
}

/** What requests have begun since the last call of `seen`. */
const begun: string[] = []

/** Waits until the Worker's requests have begun these, and no others, in this order. */
async function seen(expected: string[]): Promise<void> {
  await expect
    .poll(async () => {
      begun.push(...((await (await fetch(worker.address)).json()) as string[]))
      return begun
    })
    .toEqual(expected)
  begun.length = 0
}

/** A request whose body of one letter has not arrived yet. */
interface Open {
  /** Sends the body, and returns the answer's body. */
  finish(letter: string): Promise<string>
  answered: Promise<string>
  /** Ends the connection at once, so that the Worker's request is cancelled. */
  disconnect(): void
}

function open(path: string): Open {
  const { port, hostname } = new URL(worker.address)
  const socket = connect(Number(port), hostname).setEncoding("utf8")
  sockets.push(socket)
  socket.write(`POST ${path} HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\nConnection: close\r\n\r\n`)
  const answered = new Promise<string>((resolve) => {
    let text = ""
    socket.on("data", (data) => {
      text += data
    })
    socket.on("error", () => resolve("disconnected"))
    socket.on("close", () => resolve(text.split("\r\n\r\n")[1] ?? ""))
  })
  return {
    answered,
    finish(letter) {
      socket.write(letter)
      return answered
    },
    disconnect: () => socket.resetAndDestroy(),
  }
}

/** Opens a request for a turn, and waits until it is in the line. */
async function waitForTurn(name: string): Promise<Open> {
  const request = open(`/turn?name=${name}`)
  await seen([`${name} waits`])
  return request
}

/** One request has the only turn, and two wait for it. */
async function threeRequests(): Promise<[first: Open, second: Open, third: Open]> {
  const first = open("/turn?name=first")
  await seen(["first waits", "first has its turn"])
  return [first, await waitForTurn("second"), await waitForTurn("third")]
}

describe("requests that wait for each other in workerd", () => {
  it("continue one after the other, each with its own body", async () => {
    await start(compatibilityFlags)
    const [first, second, third] = await threeRequests()
    expect(await first.finish("a")).toBe("first: a")
    await seen(["second has its turn"])
    expect(await second.finish("b")).toBe("second: b")
    await seen(["third has its turn"])
    expect(await third.finish("c")).toBe("third: c")
  })

  it(`do not continue without ${RESOLUTION}`, async () => {
    await start([`no_${RESOLUTION}`, ...compatibilityFlags])
    const [first, second] = await threeRequests()
    await first.finish("a")
    expect(await second.finish("b")).not.toBe("second: b")
  })

  it("leave the line when their client disconnects, and get no turn", async () => {
    expect(compatibilityFlags).toContain(SIGNAL)
    await start(compatibilityFlags)
    const [first, second, third] = await threeRequests()
    second.disconnect()
    await second.answered
    expect(await first.finish("a")).toBe("first: a")
    await seen(["third has its turn"])
    expect(await third.finish("c")).toBe("third: c")
  })

  it(`lose their turn to the next one when they do not take it, even without ${SIGNAL}`, async () => {
    await start([])
    const [first, second, third] = await threeRequests()
    second.disconnect()
    await second.answered
    expect(await first.finish("a")).toBe("first: a")
    await seen(["third has its turn"])
    expect(await third.finish("c")).toBe("third: c")
  })
})

describe("requests that write in groups", () => {
  /** A group of one is being written, and two more requests wait. */
  async function twoWaiting(): Promise<[first: Open, second: Open, third: Open]> {
    const first = open("/join?name=first")
    await seen(["first joins", "first writes first"])
    const second = open("/join?name=second")
    await seen(["second joins"])
    const third = open("/join?name=third&ms=3000")
    await seen(["third joins"])
    return [first, second, third]
  }

  it("get their results from the request that writes the group", async () => {
    await start(compatibilityFlags)
    const [first, second, third] = await twoWaiting()
    expect(await first.finish("a")).toBe("first: a of first")
    await seen(["second writes second, third"])
    expect(await second.finish("b")).toBe("second: b of second")
    expect(await third.answered).toBe("third: b of second")
  })

  it("get no answer after a bounded time when the runtime has ended that request", async () => {
    await start(compatibilityFlags)
    const [first, second, third] = await twoWaiting()
    await first.finish("a")
    await seen(["second writes second, third"])
    second.disconnect()
    expect(await third.answered).toBe("third: no answer")
  })

  it("are left out when their client disconnects before", async () => {
    await start(compatibilityFlags)
    const [first, second, third] = await twoWaiting()
    second.disconnect()
    await second.answered
    await first.finish("a")
    await seen(["third writes third"])
    expect(await third.finish("c")).toBe("third: c of third")
  })
})
