/** Values of a query; undefined and null are left out. */
export type Query = Record<string, string | number | null | undefined>

/**
 * Reads the address of a service. Its path is kept: a service may be behind a gateway at
 * `https://gateway.example.com/signals`.
 *
 * @throws {TypeError} it is no address, its scheme is neither http nor https, or it has a user name, a query
 *   or a fragment
 */
export function readAddress(address: string | URL): URL {
  const url = URL.canParse(String(address)) ? new URL(String(address)) : undefined
  // No message repeats the address: it may hold a password.
  if (!url) throw new TypeError("url is not an address, such as https://signals.example.com.")
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw new TypeError(`url must begin with http:// or https://, not ${url.protocol}`)
  if (url.username !== "" || url.password !== "")
    throw new TypeError("url must have no user name and no password. Give an API key as `key`.")
  if (url.search !== "" || url.hash !== "") throw new TypeError("url must have no query and no fragment.")
  url.pathname = url.pathname.replace(/\/+$/, "")
  return url
}

/** The address of a path of the service. */
export function addressOf(base: URL, path: string, query: Query = {}): URL {
  const url = new URL(base)
  url.pathname = `${base.pathname.replace(/\/$/, "")}${path}`
  for (const [name, value] of Object.entries(query))
    if (value !== undefined && value !== null) url.searchParams.set(name, String(value))
  return url
}

/**
 * Checks a value of a header.
 *
 * @throws {TypeError} it has another character than visible ASCII; the message does not repeat it
 */
export function checkToken(name: string, value: string): string {
  if (/^[\x21-\x7e]+$/.test(value)) return value
  throw new TypeError(`${name} must have only visible ASCII characters, and no spaces or line breaks.`)
}

/** @throws {TypeError} a header is invalid; the message has its name, not its value */
export function headersOf(given: Readonly<Record<string, string>> = {}): Headers {
  const headers = new Headers()
  for (const [name, value] of Object.entries(given)) {
    try {
      headers.set(name, value)
    } catch {
      throw new TypeError(`headers: the header ${JSON.stringify(name)} has an invalid name or value.`)
    }
  }
  return headers
}

/** What to do with a redirect: the address to call instead, or why the call ends. */
export type Redirect = { follow: URL } | { refusal: string }

const MAX_LOCATION_CHARACTERS = 200

/**
 * Decides about a redirect. Only 307 and 308 keep the method and the body, and only the same origin may have
 * the key. Every other redirect would store nothing, or store it where nobody looks.
 *
 * @param location the header of the answer
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-15.4
 */
export function decideRedirect(url: URL, status: number, location: string | null): Redirect {
  if (status === 0)
    return { refusal: "the service redirects, and the browser hides where; set `url` to the final address" }
  if (location === null || !URL.canParse(location, url.href))
    return { refusal: `the answer is a redirect (${status}) without a Location` }
  const target = new URL(location, url)
  if ((status === 307 || status === 308) && target.origin === url.origin) {
    const isSafe = target.username === "" && target.password === ""
    if (isSafe) return { follow: target }
  }
  const shown = `${target.protocol}//${target.host}${target.pathname}`.slice(0, MAX_LOCATION_CHARACTERS)
  return {
    refusal: `the answer is a redirect (${status}) to Location ${shown}, which is not followed; nothing was stored. Set \`url\` to the address of the service itself`,
  }
}
