import * as ipaddr from "ipaddr.js"

/** The ports of a receiver. Others belong to services that are not meant to be called by a stranger. */
const PORTS = new Set(["", "8443"])

/** Names that only a private network or the machine itself resolves. */
const PRIVATE_NAMES =
  /(^|\.)(localhost|local|internal|intranet|private|corp|home|lan|localdomain|home\.arpa|test|invalid|onion)$/

/** The addresses of IPv6 that are given out to networks: 2000::/3. Everything else there has a purpose. */
const GLOBAL_UNICAST = ipaddr.IPv6.parseCIDR("2000::/3")

/**
 * Why a receiver must not have this URL, as the end of a sentence; undefined when it may. Refuses what can
 * name a machine inside somebody's network, such as a metadata service.
 *
 * The URL parser turns every spelling of an IPv4 address (decimal, octal, hexadecimal, short) into four
 * decimal numbers, so that one test finds them all. A name is not resolved: a Worker does not see the address
 * that `fetch` connects to.
 *
 * @param options.local also allow loopback, with http and any port, for local development
 * @see https://url.spec.whatwg.org/#concept-ipv4-parser
 * @see https://www.iana.org/assignments/iana-ipv6-special-registry
 */
export function addressError(text: string, { local }: { local: boolean }): string | undefined {
  const url = URL.parse(text)
  if (!url) return "must be an absolute URL"
  if (url.username || url.password) return "must have no user or password"
  if (url.hash || text.includes("#")) return "must have no fragment"
  if (local && isLoopback(url)) return undefined
  if (url.protocol !== "https:") return "must be https"
  if (!PORTS.has(url.port)) return "must have port 443 or 8443"
  const { hostname } = url
  if (/^\[|^[\d.]+$/.test(hostname)) return ipError(hostname.replace(/^\[|\]$/g, ""))
  if (hostname.endsWith(".")) return "must have a host without a dot at its end"
  if (!hostname.includes(".") || PRIVATE_NAMES.test(hostname)) return "must have a public host"
}

function ipError(hostname: string): string | undefined {
  const error = "must have a public address"
  if (!ipaddr.isValid(hostname)) return error
  const address = ipaddr.parse(hostname)
  if (address.range() !== "unicast") return error
  if (address instanceof ipaddr.IPv6 && !address.match(GLOBAL_UNICAST)) return error
}

function isLoopback({ protocol, hostname }: URL): boolean {
  if (!/^https?:$/.test(protocol)) return false
  return hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname)
}
