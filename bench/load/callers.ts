import { Agent, request } from "node:http"
import { setTimeout as sleep } from "node:timers/promises"
import { noteExchange } from "../../test/setup/history/fetch.ts"
import type { Recorder } from "../../test/setup/history/record.ts"

/** The answers to callers in one period. */
export interface Answers {
  /** By status; 0 is a connection that broke. */
  statuses: Record<number, number>
  /** The latency of each answer that stored a batch, in milliseconds, unordered. */
  latencies: number[]
  /** The time of each of those answers, in milliseconds since the start of the period. */
  storedAt: number[]
  ms: number
}

export interface Load {
  url: string
  bodies: readonly Buffer[]
  callers: number
  ms: number
  /**
   * Batches a second of all callers together. By default each sends its next batch when the last one is
   * answered.
   */
  perSecond?: number
  /** Notes each request and answer, which costs the callers CPU time. */
  history?: Recorder | undefined
}

/**
 * Runs callers that respect `Retry-After`: they wait for that time, half of it more or less, and send the
 * next batch.
 */
export async function load({ url, bodies, callers, ms, perSecond, history }: Load): Promise<Answers> {
  const agent = new Agent({ keepAlive: true, maxSockets: callers })
  const answers: Answers = { statuses: {}, latencies: [], storedAt: [], ms: 0 }
  const startedAt = performance.now()
  let sent = 0
  const call = async (_: unknown, caller: number) => {
    while (performance.now() - startedAt < ms) {
      const number = sent++
      if (perSecond) await sleep(Math.max(0, (number * 1000) / perSecond - (performance.now() - startedAt)))
      const sentAt = performance.now()
      const body = bodies[number % bodies.length] as Buffer
      const { status, retryAfterMs } = await post(agent, url, body, `caller ${caller}`, history)
      answers.statuses[status] = (answers.statuses[status] ?? 0) + 1
      if (status === 200 || status === 201) {
        answers.latencies.push(performance.now() - sentAt)
        answers.storedAt.push(performance.now() - startedAt)
      } else
        await sleep(
          Math.min(retryAfterMs * (0.5 + Math.random()), Math.max(0, ms - (performance.now() - startedAt))),
        )
    }
  }
  await Promise.all(Array.from({ length: callers }, call))
  agent.destroy()
  return { ...answers, ms: performance.now() - startedAt }
}

function post(
  agent: Agent,
  url: string,
  body: Buffer,
  caller: string,
  history: Recorder | undefined,
): Promise<{ status: number; retryAfterMs: number }> {
  const headers = { "Content-Type": "application/json", "Content-Length": body.length }
  const path = new URL(url).pathname
  const note = noteExchange(history, caller, {
    method: "POST",
    path,
    headers: { "content-type": "application/json" },
    body,
  })
  return new Promise((resolve) => {
    const broken = () => {
      note(0, undefined)
      resolve({ status: 0, retryAfterMs: 1000 })
    }
    const sent = request(url, { agent, method: "POST", headers }, (response) => {
      const chunks: Buffer[] = []
      if (history) response.on("data", (chunk: Buffer) => chunks.push(chunk))
      else response.resume()
      response.on("error", broken)
      response.on("end", () => {
        if (history) note(response.statusCode ?? 0, Buffer.concat(chunks).toString())
        resolve({
          status: response.statusCode ?? 0,
          retryAfterMs: Number(response.headers["retry-after"] ?? 0) * 1000,
        })
      })
    })
    sent.on("error", broken)
    sent.end(body)
  })
}
