/** The lifetime of an idempotency key. */
export const KEY_LIFETIME_DAYS = 7
export const KEY_LIFETIME_MS = KEY_LIFETIME_DAYS * 24 * 60 * 60 * 1000

/** The caller used this idempotency key for another request: nothing was stored. */
export class IdempotencyKeyReused extends Error {
  constructor() {
    super("the idempotency key was already used for another request")
  }
}

/**
 * Whether a stored hash belongs to the request of `given`. Keys from up to 7 days before a deployment can
 * have the former hash, which included neither route nor media type.
 */
export function isSameRequest(stored: string | null, given: string | undefined): boolean {
  if (stored === null || given === undefined) return false
  return stored === given || stored === given.replace(/:.*:/, ":")
}

/**
 * Hashes a request that has an idempotency key, to distinguish a retry from another request.
 *
 * @param request.route the pattern of the route, since all routes share one key space
 * @param request.mediaType the media type: the same bytes are another request under another one
 * @param request.body decoded, so that a retry can use another content coding
 */
export async function hashRequest(request: {
  route: string
  mediaType: string
  allOrNothing: boolean
  body: BufferSource
}): Promise<string> {
  const { route, mediaType, allOrNothing, body } = request
  const digest = await crypto.subtle.digest("SHA-256", body)
  return [
    allOrNothing ? "all-or-nothing" : "best-effort",
    route,
    mediaType,
    new Uint8Array(digest).toHex(),
  ].join(":")
}
