import { once } from "node:events"
import { createServer, request } from "node:http"
import type { AddressInfo } from "node:net"

/** What may happen to a request on its way. */
type Mishap =
  /** It never gets there. */
  | { kind: "refuse" }
  /** The service answers, and its answer is lost. */
  | { kind: "lose" }
  /** Somebody on the way answers. */
  | { kind: "answer"; status: number; headers?: Record<string, string>; body?: string }
  /** Half of the answer comes through. */
  | { kind: "cut" }

/** A real HTTP hop in front of a service, on which things go wrong. */
export interface FaultyProxy {
  address: string
  /** What happens to the next requests, one each; then all go through. */
  mishaps: Mishap[]
  /** Headers of every request that came, in order. */
  seen: { method: string; url: string; headers: Record<string, string | string[] | undefined> }[]
  stop(): Promise<void>
}

export async function startProxy(target: string): Promise<FaultyProxy> {
  const proxy: Pick<FaultyProxy, "mishaps" | "seen"> = { mishaps: [], seen: [] }
  const server = createServer(async (incoming, outgoing) => {
    const chunks: Buffer[] = []
    for await (const chunk of incoming) chunks.push(chunk as Buffer)
    proxy.seen.push({ method: incoming.method ?? "", url: incoming.url ?? "", headers: incoming.headers })
    const mishap = proxy.mishaps.shift()
    if (mishap?.kind === "refuse") return incoming.socket.destroy()
    if (mishap?.kind === "answer")
      return outgoing.writeHead(mishap.status, mishap.headers).end(mishap.body ?? "")
    const sent = request(
      new URL(incoming.url ?? "/", target),
      { method: incoming.method, headers: { ...incoming.headers, host: new URL(target).host } },
      async (answer) => {
        const parts: Buffer[] = []
        for await (const part of answer) parts.push(part as Buffer)
        const body = Buffer.concat(parts)
        if (mishap?.kind === "lose") return incoming.socket.destroy()
        outgoing.writeHead(answer.statusCode ?? 500, answer.headers)
        if (mishap?.kind !== "cut") return outgoing.end(body)
        outgoing.write(body.subarray(0, body.length / 2), () => incoming.socket.destroy())
      },
    )
    sent.on("error", () => incoming.socket.destroy())
    sent.end(Buffer.concat(chunks))
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
