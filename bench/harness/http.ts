import { Agent, request } from "node:http"
import { setTimeout as sleep } from "node:timers/promises"

/** Keeps one connection open for each caller. */
export function openAgent(callers: number): Agent {
  return new Agent({ keepAlive: true, maxSockets: callers })
}

/** The answer has another status. */
class UnexpectedAnswer extends Error {
  readonly retryAfterMs: number | undefined

  constructor(message: string, retryAfter: string | undefined) {
    super(message)
    this.retryAfterMs = retryAfter === undefined ? undefined : Number(retryAfter) * 1000
  }
}

/**
 * Posts as `post` does, and again after each refusal that says when: nothing of the request was stored then.
 */
export async function postUntilStored(
  agent: Agent,
  url: string,
  body: Buffer,
  status: number,
): Promise<void> {
  for (;;) {
    try {
      return void (await post(agent, url, body, status))
    } catch (error) {
      if (!(error instanceof UnexpectedAnswer) || error.retryAfterMs === undefined) throw error
      await sleep(error.retryAfterMs)
    }
  }
}

/** Posts a prepared body, reads the whole answer, and throws unless it has `status`. */
export function post(
  agent: Agent,
  url: string,
  body: Buffer,
  status: number,
  more: Record<string, string> = {},
): Promise<Buffer> {
  const headers = { "Content-Type": "application/json", "Content-Length": body.length, ...more }
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent, method: "POST", headers }, (response) => {
      const chunks: Buffer[] = []
      response.on("data", (chunk: Buffer) => chunks.push(chunk))
      response.on("error", reject)
      response.on("end", () => {
        const answer = Buffer.concat(chunks)
        if (response.statusCode === status) resolve(answer)
        else {
          const message = `${url} answered ${response.statusCode}: ${answer.subarray(0, 500)}`
          reject(new UnexpectedAnswer(message, response.headers["retry-after"]))
        }
      })
    })
    sent.on("error", reject)
    sent.end(body)
  })
}
