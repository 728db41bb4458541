import type { Recorder } from "./record.ts"
import { noteAnswer, noteRequest, type Request } from "./requests.ts"

/**
 * Notes a request before it leaves, and returns what notes its answer: the status, and the whole text, or
 * undefined when the answer did not come to its end.
 */
export function noteExchange(
  history: Recorder | undefined,
  client: string,
  request: Request & { isQuiet?: boolean },
): (status: number, text: string | undefined) => void {
  const headers = Object.entries(request.headers).map(([name, value]) => [name.toLowerCase(), value])
  const noted = history && noteRequest({ ...request, headers: Object.fromEntries(headers) })
  if (!history || !noted) return () => {}
  const answer = history.invoke({ client, ...noted, ...(request.isQuiet && { isQuiet: true as const }) })
  return (status, text) => answer(noteAnswer(noted.operation, status, text))
}

/**
 * The runtime's `fetch`, which notes in a history what it sends and what comes back.
 *
 * @param isQuiet whether no request and no work is under way, and none will be
 */
export function recordedFetch(history: Recorder | undefined, client: string, isQuiet = false): typeof fetch {
  return async (input, init = {}) => {
    const url = new URL(String(input))
    const { method = "GET", headers = {}, body } = init
    const note = noteExchange(history, client, {
      method,
      path: url.pathname + url.search,
      headers: Object.fromEntries(new Headers(headers as Record<string, string>)),
      ...((typeof body === "string" || body instanceof Uint8Array) && { body }),
      isQuiet,
    })
    try {
      const response = await fetch(input, init)
      const bytes = await response.arrayBuffer()
      note(response.status, Buffer.from(bytes).toString())
      return new Response(response.status === 204 ? null : bytes, response)
    } catch (error) {
      note(0, undefined)
      throw error
    }
  }
}
