import { LoggableError } from "../errors.ts"

/** The bytes of a new secret. The specification asks for 24 to 64. */
const SECRET_BYTES = 32

/** AES-GCM takes 12 bytes that are never used twice under a key: random ones, for a few thousand texts. */
const NONCE_BYTES = 12

/** A sealed text was sealed under another SUBSCRIPTION_SECRET, or for another subscription. */
export class Unsealable extends LoggableError {
  constructor() {
    super("SUBSCRIPTION_SECRET does not open what was sealed under a former one")
  }
}

/** A new secret of Standard Webhooks. */
export const newSecret = (): string =>
  `whsec_${crypto.getRandomValues(new Uint8Array(SECRET_BYTES)).toBase64()}`

/**
 * Seals a text for the database. Only who has the key can read it, and only as this field of this
 * subscription.
 *
 * @param keys SUBSCRIPTION_SECRET: the first seals, each of them opens
 * @param place the subscription and the field
 */
export async function seal(keys: readonly string[], place: string, text: string): Promise<string> {
  const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES))
  const sealed = await crypto.subtle.encrypt(
    algorithm(nonce, place),
    await sealingKey(keys[0] ?? ""),
    new TextEncoder().encode(text),
  )
  return `v1.${nonce.toBase64()}.${new Uint8Array(sealed).toBase64()}`
}

/**
 * Opens a sealed text.
 *
 * @throws {Unsealable}
 */
export async function unseal(keys: readonly string[], place: string, sealed: string): Promise<string> {
  const [version, nonce = "", text = ""] = sealed.split(".")
  if (version !== "v1") throw new Unsealable()
  for (const key of keys) {
    try {
      const opened = await crypto.subtle.decrypt(
        algorithm(Uint8Array.fromBase64(nonce), place),
        await sealingKey(key),
        Uint8Array.fromBase64(text),
      )
      return new TextDecoder().decode(opened)
    } catch {
      // Another key, or another place.
    }
  }
  throw new Unsealable()
}

const algorithm = (iv: Uint8Array, place: string) => ({
  name: "AES-GCM",
  iv,
  additionalData: new TextEncoder().encode(place),
})

const derived = new Map<string, Promise<CryptoKey>>()

/** The key that HKDF derives from a setting, once for each isolate. */
function sealingKey(setting: string): Promise<CryptoKey> {
  const known = derived.get(setting)
  if (known) return known
  const key = derive(setting)
  derived.set(setting, key)
  return key
}

async function derive(setting: string): Promise<CryptoKey> {
  const bytes = new TextEncoder()
  const material = await crypto.subtle.importKey("raw", bytes.encode(setting), "HKDF", false, ["deriveKey"])
  const info = bytes.encode("signal-ingest subscriptions 1")
  return crypto.subtle.deriveKey(
    { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info },
    material,
    { name: "AES-GCM", length: 256 },
    false,
    ["encrypt", "decrypt"],
  )
}

/**
 * The header `webhook-signature` of a call: one signature for each secret, of which there are two during a
 * rotation.
 *
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export async function signatures(
  secrets: readonly string[],
  { id, timestamp, body }: { id: string; timestamp: number; body: string },
): Promise<string> {
  const signed = new TextEncoder().encode(`${id}.${timestamp}.${body}`)
  const all = secrets.map(async (secret) => {
    const bytes = Uint8Array.fromBase64(secret.replace(/^whsec_/, ""))
    const key = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, [
      "sign",
    ])
    return `v1,${new Uint8Array(await crypto.subtle.sign("HMAC", key, signed)).toBase64()}`
  })
  return (await Promise.all(all)).join(" ")
}
