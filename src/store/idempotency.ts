/** How long an idempotency key stands for its first request. */
export const KEY_LIFETIME_DAYS = 7
export const KEY_LIFETIME_MS = KEY_LIFETIME_DAYS * 24 * 60 * 60 * 1000

/** The caller used this idempotency key for another request: nothing was stored. */
export class IdempotencyKeyReused extends Error {
  constructor() {
    super("the idempotency key stands for another request")
  }
}

/**
 * Whether a stored hash stands for the request of `given`. Keys of up to 7 days before a deployment may carry the former hash, which
 * named neither route nor media type.
 */
export function isSameRequest(stored: string | null, given: string | undefined): boolean {
  if (stored === null || given === undefined) return false
  return stored === given || stored === given.replace(/:.*:/, ":")
}

/**
 * Hashes a request that has an idempotency key, to distinguish a retry from another request.
 *
 * @param request.route the pattern of the route, as one key space serves all of them
 * @param request.mediaType how the body is read: the same bytes are another request under another media type
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
  return [allOrNothing ? "all-or-nothing" : "best-effort", route, mediaType, new Uint8Array(digest).toHex()].join(":")
}
