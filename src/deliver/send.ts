import { type Answer, retryAfterMs, statusError } from "../subscriptions/plan.ts"

/** The longest time of a call, until the head of its answer. */
export const CALL_MS = 10_000

/** How much of an answer's body is read, and how long, so that its connection can be used again. */
const MAX_ANSWER_BYTES = 64 * 1024
const LONGEST_BODY_MS = 1000

/**
 * Sends a call, and waits for the head of its answer. Follows no redirect. The status alone decides: what
 * follows it, or breaks off behind it, changes nothing.
 */
export async function send(
  url: string,
  { headers, body }: { headers: Record<string, string>; body: string },
  callMs = CALL_MS,
): Promise<Answer> {
  const startedAt = Date.now()
  const none = { status: null, retryAfterMs: undefined }
  try {
    const signal = AbortSignal.timeout(callMs)
    const response = await fetch(url, { method: "POST", redirect: "manual", headers, body, signal })
    const ms = Date.now() - startedAt
    const { status } = response
    await drain(response.body)
    return {
      status,
      error: statusError(status),
      retryAfterMs: retryAfterMs(response.headers.get("Retry-After")),
      ms,
    }
  } catch (error) {
    const ms = Date.now() - startedAt
    const isLate = error instanceof Error && error.name === "TimeoutError"
    return { ...none, error: isLate ? `no answer in ${callMs / 1000} seconds` : "no connection", ms }
  }
}

/** Reads the beginning of a body, and drops the rest. Never throws. */
async function drain(body: ReadableStream<Uint8Array> | null): Promise<void> {
  if (!body) return
  const reader = body.getReader()
  const isOver = new Promise<undefined>((resolve) => setTimeout(resolve, LONGEST_BODY_MS))
  try {
    for (let bytes = 0; bytes <= MAX_ANSWER_BYTES; ) {
      const chunk = await Promise.race([reader.read(), isOver])
      if (!chunk || chunk.done) break
      bytes += chunk.value.length
    }
  } catch {
    // It broke off.
  }
  await reader.cancel().catch(() => {})
}
