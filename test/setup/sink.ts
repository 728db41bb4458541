import { once } from "node:events"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"

/** What workerd's own Analytics Engine binding posts its data points to. */
export interface Sink {
  /** Host and port. */
  address: string
  /** The points that came in, each as workerd writes it: texts as bytes, numbers as they are. */
  points: Record<string, unknown>[]
  stop(): Promise<void>
}

/** @param answers false for a store that takes connections and never answers */
export async function startSink({ answers }: { answers: boolean }): Promise<Sink> {
  const points: Sink["points"] = []
  const server: Server = createServer(async (request, response) => {
    if (!answers) return
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    for (const line of Buffer.concat(chunks).toString().split("\n").filter(Boolean))
      points.push(JSON.parse(line))
    response.end()
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo
  return {
    address: `127.0.0.1:${port}`,
    points,
    async stop() {
      server.closeAllConnections()
      server.close()
      await once(server, "close")
    },
  }
}
