import type { IncomingHttpHeaders } from "node:http"

const LOOPBACK_NAMES = ["127.0.0.1", "localhost", "[::1]"]

/**
 * Whether a web page can have sent this request. Of the local servers only the service itself is for browsers, but a page of any site can
 * reach a port on the developer's machine: directly (then its browser names the page), or through a DNS name that points at the
 * loopback address (then `Host` is that name).
 *
 * @see https://fetch.spec.whatwg.org/#origin-header
 */
export const mayComeFromPage = ({ host, origin, "sec-fetch-site": site }: IncomingHttpHeaders, port: number): boolean =>
  origin !== undefined || site !== undefined || !LOOPBACK_NAMES.some((name) => host === `${name}:${port}`)
