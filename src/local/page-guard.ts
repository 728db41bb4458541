import type { IncomingHttpHeaders } from "node:http"

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
