import { expect } from "vitest"
import type { Clock } from "./clock.ts"

/** What becomes of a request: whether it is stored, and which answer its sender gets. */
export const FATES = [
  { isStored: true, answer: "result" },
  { isStored: true, answer: "lost" },
  { isStored: true, answer: "cut" },
  { isStored: true, answer: "a page" },
  { isStored: true, answer: "in doubt" },
  { isStored: false, answer: "lost" },
  { isStored: false, answer: "busy" },
  { isStored: false, answer: "a page" },
] as const
type Fate = (typeof FATES)[number]

/** The service as a sender sees it: one statement stores a batch under its key, once. */
export class ModelService {
  readonly stored: string[] = []
  readonly open: { end: (fate: Fate) => void }[] = []
  mostOpen = 0
  readonly #ledger = new Map<string, { body: string; answer: object }>()

  readonly fetch: typeof fetch = async (_, { headers, body, signal } = {}) => {
    const key = new Headers(headers).get("Idempotency-Key") ?? ""
    const { promise, resolve, reject } = Promise.withResolvers<Response>()
    const request = {
      end: (fate: Fate) => {
        this.#forget(request)
        const answer = fate.isStored ? this.#store(key, String(body)) : {}
        if (fate.answer === "lost") reject(new TypeError("fetch failed"))
        else resolve(responseOf(fate, answer))
      },
    }
    this.open.push(request)
    this.mostOpen = Math.max(this.mostOpen, this.open.length)
    signal?.addEventListener("abort", () => {
      this.#forget(request)
      reject(new DOMException("aborted", "AbortError"))
    })
    return promise
  }

  #forget(request: { end: (fate: Fate) => void }): void {
    const index = this.open.indexOf(request)
    if (index !== -1) this.open.splice(index, 1)
  }

  #store(key: string, body: string): object {
    const known = this.#ledger.get(key)
    if (known) {
      expect(known.body).toBe(body)
      return known.answer
    }
    const { signals } = JSON.parse(body) as { signals: { raw_content: string }[] }
    const first = this.stored.length
    this.stored.push(...signals.map(({ raw_content }) => raw_content))
    const answer = {
      total_count: signals.length,
      successful_count: signals.length,
      failed_count: 0,
      results: signals.map((_, index) => ({
        index,
        success: true,
        signal_id: first + index + 1,
        error: null,
      })),
      transaction_id: crypto.randomUUID(),
    }
    this.#ledger.set(key, { body, answer })
    return answer
  }
}

function responseOf({ answer }: Fate, result: object): Response {
  const json = JSON.stringify(result)
  if (answer === "result") return new Response(json)
  if (answer === "cut") return new Response(json.slice(0, 20))
  if (answer === "a page") return new Response("<html>maintenance</html>")
  const problem = { detail: "The service is busy.", code: "overloaded" }
  return Response.json(problem, { status: 503, headers: { "Retry-After": "1" } })
}

/** Bodies of answers are read in several turns of the loop. */
export async function settle(clock: Clock): Promise<void> {
  for (let turn = 0; turn < 4; turn++) await clock.settle()
}

/** From now on the service stores and answers everything, until `work` is done. */
export async function deliverAll(clock: Clock, service: ModelService, work: Promise<unknown>): Promise<void> {
  let isDone = false
  const done = work.finally(() => (isDone = true))
  done.catch(() => {})
  for (let round = 0; !isDone && round < 1000; round++) {
    for (const request of service.open.slice()) request.end({ isStored: true, answer: "result" })
    await settle(clock)
    await clock.advance(500)
  }
  expect(isDone).toBe(true)
  await done
}
