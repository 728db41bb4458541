import { once } from "node:events"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

/** One call that a receiver got. */
export interface ReceivedCall {
  headers: Record<string, string>
  body: string
  /** Whether the receiver took it, also when its answer was lost. */
  isAccepted: boolean
}

/** What a receiver does with a call. The default is 200 at once. */
export interface Reply {
  status?: number
  headers?: Record<string, string>
  /** How long it takes. */
  delayMs?: number
  /**
   * What follows the call. `close`: the connection ends behind the head. `endless`: a body without an end.
   * `silent`: no answer. `lost`: it is accepted, and the connection ends before the answer. `dead`: nobody
   * saw the call.
   */
  after?: "close" | "endless" | "silent" | "lost" | "dead"
}

/**
 * A receiver of webhooks, of which each path under `/in/` is one. Tests inside workerd reach it by HTTP:
 * `GET /calls/NAME`, and `POST /replies/NAME` with the replies to the next calls.
 */
export interface Receiver {
  url: string
  /** The address of one receiver. */
  at(name: string): string
  calls(name: string): ReceivedCall[]
  /** The replies to the next calls; afterwards it accepts. With `forever` the last one stays. */
  reply(name: string, replies: readonly Reply[], options?: { forever?: boolean }): void
  stop(): Promise<void>
}

export async function startReceiver(port = 0): Promise<Receiver> {
  const calls = new Map<string, ReceivedCall[]>()
  const replies = new Map<string, { list: Reply[]; forever: boolean }>()
  const server = createServer(async (request, response) => {
    const body = await textOf(request)
    const [, kind = "", name = ""] = request.url?.split("/") ?? []
    if (kind === "calls") return void response.end(JSON.stringify(calls.get(name) ?? []))
    if (kind === "replies") {
      replies.set(name, JSON.parse(body))
      return void response.end()
    }
    const { list = [], forever = false } = replies.get(name) ?? {}
    const reply = (forever && list.length === 1 ? list[0] : list.shift()) ?? {}
    if (reply.after === "dead") return void request.socket.destroy()
    const { status = 200, after } = reply
    const isAccepted = status < 300 && after !== "silent"
    calls.set(name, [...(calls.get(name) ?? []), { headers: headersOf(request), body, isAccepted }])
    if (after === "lost") return void request.socket.destroy()
    setTimeout(() => send(response, reply), reply.delayMs ?? 0)
  })
  server.listen(port, "127.0.0.1")
  await once(server, "listening")
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url,
    at: (name) => `${url}/in/${name}`,
    calls: (name) => calls.get(name) ?? [],
    reply: (name, list, { forever = false } = {}) => void replies.set(name, { list: [...list], forever }),
    async stop() {
      server.closeAllConnections()
      server.close()
      await once(server, "close")
    },
  }
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

const headersOf = ({ headers }: IncomingMessage): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))

function send(response: ServerResponse, { status = 200, headers = {}, after }: Reply): void {
  if (after === "silent") return
  if (after === "close") {
    response.writeHead(status, { ...headers, "Content-Length": "1000" })
    response.write("the beginning", () => response.destroy())
    return
  }
  response.writeHead(status, headers)
  if (after !== "endless") return void response.end("ok")
  const chunk = Buffer.alloc(16 * 1024)
  const write = () => {
    while (!response.destroyed && response.write(chunk));
    if (!response.destroyed) response.once("drain", write)
  }
  write()
}
