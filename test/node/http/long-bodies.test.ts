import { execFile } from "node:child_process"
import { once } from "node:events"
import { writeFile } from "node:fs/promises"
import { Agent, request } from "node:http"
import { connect, type Socket } from "node:net"
import { join } from "node:path"
import { Readable } from "node:stream"
import { promisify } from "node:util"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { useFolder, useRig } from "../../setup/hooks/rig.ts"
import { type LocalService, startLocalService } from "../../setup/local-service.ts"
import { has } from "../../setup/processes.ts"

const MIB = 1024 * 1024
const CHUNK_BYTES = 64 * 1024
const SIZES = [24 * MIB, 64 * MIB]
const ANSWERS = [413, 200]
const SMALL = JSON.stringify({ signals: [{ context_window_id: "after" }] })

/** A connection on which each answer is awaited. */
interface Connection {
  socket: Socket
  /** Resolves with the status of the next answer, or with the error that ended the connection. */
  nextAnswer(): Promise<number | string>
}

async function openConnection(address: string): Promise<Connection> {
  const { hostname, port } = new URL(address)
  const socket = connect(Number(port), hostname === "localhost" ? "127.0.0.1" : hostname)
  let [text, ended] = ["", ""]
  let wake = () => {}
  socket.setEncoding("latin1").on("data", (part: string) => {
    text += part
    wake()
  })
  socket.on("error", ({ message }) => {
    ended = message
  })
  socket.on("close", () => {
    ended ||= "closed"
    wake()
  })
  await once(socket, "connect")
  return {
    socket,
    async nextAnswer() {
      for (;;) {
        const [whole, status] = /^HTTP\/1\.1 (\d+).*?\r\n\r\n(?=.*\})/s.exec(text) ?? []
        if (whole !== undefined) {
          text = ""
          return Number(status)
        }
        if (ended) return ended
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
  }
}

const HEAD = "POST /api/signals/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

/** Writes a chunked body as fast as the connection takes it, and ends it unless the connection has ended. */
async function writeChunked({ socket }: Connection, path: string, bytes: number): Promise<void> {
  socket.write(HEAD.replace("/api/signals/batch", path))
  socket.write("Transfer-Encoding: chunked\r\n\r\n")
  const closed = once(socket, "close")
  const chunk = `${CHUNK_BYTES.toString(16)}\r\n${" ".repeat(CHUNK_BYTES)}\r\n`
  for (let sent = 0; sent < bytes && !socket.destroyed; sent += CHUNK_BYTES)
    if (!socket.write(chunk)) await Promise.race([once(socket, "drain"), closed])
  if (!socket.destroyed) socket.write("0\r\n\r\n")
}

async function bySocket(address: string, bytes: number, path = "/api/signals/batch") {
  const connection = await openConnection(address)
  try {
    await writeChunked(connection, path, bytes)
    const first = await connection.nextAnswer()
    connection.socket.write(`${HEAD}Content-Length: ${SMALL.length}\r\n\r\n${SMALL}`)
    return [first, await connection.nextAnswer()]
  } finally {
    connection.socket.destroy()
  }
}

/** Node's own client, with one connection. */
async function byNode(address: string, bytes: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const post = (body: Iterable<string>) =>
    new Promise<number>((resolve, reject) => {
      const options = { method: "POST", agent, headers: { "Content-Type": "application/json" } }
      const sending = request(`${address}/api/signals/batch`, options, (answer) => {
        answer.resume().on("end", () => resolve(answer.statusCode ?? 0))
      })
      sending.on("error", reject)
      Readable.from(body).pipe(sending)
    })
  try {
    return [await post(spaces(bytes)), await post([SMALL])]
  } finally {
    agent.destroy()
  }
}

function* spaces(bytes: number): Generator<string> {
  for (let sent = 0; sent < bytes; sent += CHUNK_BYTES) yield " ".repeat(CHUNK_BYTES)
}

async function byFetch(address: string, bytes: number) {
  const post = async (body: BodyInit) => {
    const response = await fetch(`${address}/api/signals/batch`, {
      method: "POST",
      body,
      headers: { "Content-Type": "application/json" },
      duplex: "half",
    } as RequestInit)
    await response.arrayBuffer()
    return response.status
  }
  const stream = Readable.toWeb(Readable.from(spaces(bytes)).map((text) => Buffer.from(text)))
  return [await post(stream as BodyInit), await post(SMALL)]
}

const rig = useRig()
const folder = useFolder()
let local: LocalService
beforeAll(async () => {
  local = await startLocalService()
})
afterAll(() => local?.stop())

const DOORS: [string, () => string][] = [
  ["workerd", () => rig.service.address],
  ["npm start", () => local.address],
]

describe.each(DOORS)("a chunked body over the limit at %s", (_, address) => {
  describe.each(SIZES)("of %i bytes gets its 413, and the next request of the connection works:", (bytes) => {
    it("a socket", async () => {
      expect(await bySocket(address(), bytes)).toEqual(ANSWERS)
    })

    it("Node's http", async () => {
      expect(await byNode(address(), bytes)).toEqual(ANSWERS)
    })

    it("fetch", async () => {
      expect(await byFetch(address(), bytes)).toEqual(ANSWERS)
    })

    it.runIf(has("curl", "--version"))("curl", async () => {
      const file = join(folder.path, "long")
      await writeFile(file, " ".repeat(bytes))
      const options = ["-s", "-o", join(folder.path, "answer"), "-w", "%{http_code} %{num_connects} "]
      const chunked = ["-H", "Transfer-Encoding: chunked", "-H", "Expect:", "--data-binary", `@${file}`]
      const type = ["-H", "Content-Type: application/json"]
      const url = `${address()}/api/signals/batch`
      const args = [...options, ...type, ...chunked, url, "--next", ...options, ...type, "-d", SMALL, url]
      const { stdout } = await promisify(execFile)("curl", args)
      expect(stdout).toBe("413 1 200 0 ")
    })
  })

  it.each(["/api/signals", "/webhooks/kafka", "/api/erasures"])("gets its 413 at %s too", async (path) => {
    expect(await bySocket(address(), 24 * MIB, path)).toEqual(ANSWERS)
  })
})
