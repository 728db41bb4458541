/**
 * The form of an API key: `si_live_`, 43 digits in base 62 (256 random bits), and 6 digits of their CRC-32.
 * By the prefix a scanner of secrets finds a key, and by the checksum it knows that it is one.
 */
const KEY_PREFIX = "si_live_"
export const RANDOM_BYTES = 32
const RANDOM_DIGITS = 43
const CHECKSUM_DIGITS = 6
const KEY_FORM = new RegExp(`^${KEY_PREFIX}[0-9A-Za-z]{${RANDOM_DIGITS + CHECKSUM_DIGITS}}$`)

/** So much of a key is shown in lists: the prefix and 4 of the 43 digits. */
const HINT_CHARACTERS = KEY_PREFIX.length + 4

/** The most keys that are neither revoked nor expired. Every isolate in use holds them all. */
export const MAX_LIVE_KEYS = 1000

/** The most of them with one name, so that a rotation has an end. */
export const MAX_KEYS_OF_NAME = 2

/** Why no key was made. */
export type KeyConflict = "name taken" | "too many keys" | "too many of this name"

/** The name of a key is its caller. */
export const KEY_NAME = /^[\w.@-]{1,100}$/

/** The caller of a request without a key, where the deployment has open access. */
export const ANONYMOUS_NAME = "anonymous"

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

function inBase62(number: bigint, length: number): string {
  let text = ""
  for (let rest = number; rest > 0n; rest /= 62n) text = DIGITS[Number(rest % 62n)] + text
  return text.padStart(length, "0")
}

/** CRC-32 of ASCII text, as in ZIP and PNG. */
function crc32(text: string): number {
  let crc = 0xffffffff
  for (let index = 0; index < text.length; index++) {
    crc ^= text.charCodeAt(index)
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0)
  }
  return (crc ^ 0xffffffff) >>> 0
}

const checksumOf = (text: string) => inBase62(BigInt(crc32(text)), CHECKSUM_DIGITS)

/**
 * Writes an API key.
 *
 * @param random 32 bytes of a cryptographic source
 */
export function apiKeyOf(random: Uint8Array): string {
  if (random.length !== RANDOM_BYTES) throw new RangeError(`an API key is made of ${RANDOM_BYTES} bytes`)
  const number = random.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n)
  const text = KEY_PREFIX + inBase62(number, RANDOM_DIGITS)
  return text + checksumOf(text)
}

/** Whether a text has the form of a key that `apiKeyOf` wrote. Keys in `API_KEYS` may have any form. */
export const hasKeyForm = (text: string): boolean =>
  KEY_FORM.test(text) && text.endsWith(checksumOf(text.slice(0, -CHECKSUM_DIGITS)))

export const hintOf = (key: string): string => key.slice(0, HINT_CHARACTERS)
