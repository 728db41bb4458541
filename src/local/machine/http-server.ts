import { createServer, type IncomingHttpHeaders, type IncomingMessage, type RequestListener } from "node:http"
import type { AddressInfo } from "node:net"

/** An HTTP server on the loopback address that can stop and start again on the same port. */
export interface LocalServer {
  port: number
  isListening(): boolean
  listen(): Promise<void>
  /** Stops listening and closes every connection. */
  close(): Promise<void>
}

/**
 * Starts a server. Idle connections stay open: one that closes just when a request arrives would look like a
 * lost answer.
 *
 * @param port default: any free port
 * @throws {Error} the system's error, such as EADDRINUSE
 */
export async function startServer(handle: RequestListener, port = 0): Promise<LocalServer> {
  const server = createServer({ keepAliveTimeout: 0 }, handle)
  const listen = (at: number) =>
    new Promise<void>((resolve, reject) => {
      server.once("error", reject).listen(at, "127.0.0.1", () => {
        server.off("error", reject)
        resolve()
      })
    })
  await listen(port)
  const { port: ownPort } = server.address() as AddressInfo
  return {
    port: ownPort,
    isListening: () => server.listening,
    listen: () => (server.listening ? Promise.resolve() : listen(ownPort)),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** Reads a request's body; undefined when it is longer than `limitBytes`. */
export async function readBody(request: IncomingMessage, limitBytes: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length <= limitBytes) chunks.push(chunk)
  }
  return length <= limitBytes ? Buffer.concat(chunks, length) : undefined
}

const LOOPBACK_NAMES = ["127.0.0.1", "localhost", "[::1]"]

/**
 * Whether a web page may have sent this request. Only the service itself is for browsers, but a page of any
 * site can reach the other local servers: directly (the browser then sends the page's origin), or by a DNS
 * name for the loopback address (`Host` is then that name).
 *
 * @see https://fetch.spec.whatwg.org/#origin-header
 */
export const mayComeFromPage = (
  { host, origin, "sec-fetch-site": site }: IncomingHttpHeaders,
  port: number,
): boolean =>
  origin !== undefined || site !== undefined || !LOOPBACK_NAMES.some((name) => host === `${name}:${port}`)
