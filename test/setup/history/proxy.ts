import { once } from "node:events"
import { createServer, request } from "node:http"
import type { AddressInfo } from "node:net"
import { noteExchange } from "./fetch.ts"
import type { Recorder } from "./record.ts"

/** A hop in front of a service that notes what clients of any kind send, and what they are answered. */
export interface RecordingProxy {
  address: string
  /** Where it notes; undefined: nowhere. */
  history: Recorder | undefined
  stop(): Promise<void>
}

/** @param target the address of the service, which may go and come back */
export async function startRecordingProxy(target: string): Promise<RecordingProxy> {
  const proxy: Pick<RecordingProxy, "history"> = { history: undefined }
  const { host } = new URL(target)
  const server = createServer(async (incoming, outgoing) => {
    const body = await bytesOf(incoming).catch(() => undefined)
    if (!body) return void incoming.socket.destroy()
    const { method = "GET", url = "/" } = incoming
    const headers = Object.entries(incoming.headers).map(([name, value]) => [name, String(value)])
    const note = noteExchange(proxy.history, String(incoming.headers["user-agent"] ?? "client"), {
      method,
      path: url,
      headers: Object.fromEntries(headers),
      body,
    })
    const isLost = () => {
      note(0, undefined)
      incoming.socket.destroy()
    }
    const sent = request(new URL(url, target), { method, headers: { ...incoming.headers, host } })
    sent.on("error", isLost)
    sent.on("response", async (answer) => {
      const bytes = await bytesOf(answer).catch(() => undefined)
      if (!bytes) return isLost()
      note(answer.statusCode ?? 0, bytes.toString())
      const { "transfer-encoding": _, ...kept } = answer.headers
      outgoing.writeHead(answer.statusCode ?? 500, kept).end(bytes)
    })
    // A client that leaves takes its request with it.
    outgoing.on("close", () => sent.destroy())
    sent.end(body)
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return Object.assign(proxy, {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      server.closeAllConnections()
      server.close()
      await once(server, "close")
    },
  })
}

async function bytesOf(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}
