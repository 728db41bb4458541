/** A new idempotency key: a random UUID. `crypto.randomUUID` does not exist in pages without https. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  // Version 4 and the variant of RFC 9562, section 5.4.
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  const hex = hexOf(bytes)
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-")
}

/**
 * The key of a half of a batch that is over a limit: the SHA-256 of the batch's key, a line break and the
 * name of the half. It has the same length at every depth and is the same in every run, so that the whole
 * batch can be sent again.
 */
export const keyOfHalf = (key: string, half: "first half" | "second half"): Promise<string> =>
  sha256(`${key}\n${half}`)

/**
 * Names a caller of a service without showing its API key. Idempotency keys belong to a caller: under another
 * one the service would store the same batch again.
 */
export const callerIdOf = async (url: string, key = ""): Promise<string> =>
  (await sha256(`signal-ingest caller\n${url}\n${key}`)).slice(0, 32)

/** In hexadecimal digits. Needs a secure context: pages with https, or localhost. */
async function sha256(text: string): Promise<string> {
  return hexOf(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))))
}

const hexOf = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")
