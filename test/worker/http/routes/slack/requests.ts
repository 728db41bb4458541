import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test"
import { app } from "../../../../../src/app.ts"
import type { Bindings } from "../../../../../src/bindings.ts"
import type { DataPoint } from "../../../../../src/metrics/points.ts"
import { bindings, query } from "../../../service.ts"

export const SECRET = "8f742231b10e8888abcd99yyyzzz85a5"

/** A channel no other test writes to. */
export const freshChannel = () => `C${crypto.randomUUID().replaceAll("-", "").toUpperCase()}`
export const message = (channel: string, more: object = {}) => ({
  token: "verification-token",
  type: "event_callback",
  team_id: "T1",
  event_id: `Ev${crypto.randomUUID()}`,
  event_time: 1_790_000_000,
  event: {
    type: "message",
    channel,
    user: "U1",
    text: "Hello",
    ts: "1790000000.000100",
    event_ts: "1790000000.000100",
    ...more,
  },
})

async function sign(secret: string, timestamp: string, text: string): Promise<string> {
  const encode = (part: string) => new TextEncoder().encode(part)
  const key = await crypto.subtle.importKey("raw", encode(secret), { name: "HMAC", hash: "SHA-256" }, false, [
    "sign",
  ])
  return `v0=${new Uint8Array(await crypto.subtle.sign("HMAC", key, encode(`v0:${timestamp}:${text}`))).toHex()}`
}

/**
 * Sends as Slack does. Also returns the messages and data points that the service sends; none is delivered.
 */
export async function sendSigned(
  body: unknown,
  options: { headers?: Record<string, string>; changed?: Partial<Bindings> } = {},
) {
  const text = typeof body === "string" ? body : JSON.stringify(body)
  const timestamp = String(Math.floor(Date.now() / 1000))
  const headers = {
    "Content-Type": "application/json",
    "X-Slack-Request-Timestamp": timestamp,
    "X-Slack-Signature": await sign(SECRET, timestamp, text),
    ...options.headers,
  }
  const queued: string[] = []
  const points: DataPoint[] = []
  const QUEUE = { send: async (content: string) => void queued.push(content) } as unknown as Queue
  const METRICS = { writeDataPoint: (point: DataPoint) => void points.push(point) }
  const environment = {
    ...bindings,
    OPEN_ACCESS: "false",
    SLACK_SIGNING_SECRET: SECRET,
    QUEUE,
    METRICS,
    ...options.changed,
  }
  const context = createExecutionContext()
  const response = await app.request(
    "/webhooks/slack",
    { method: "POST", body: text, headers },
    environment,
    context,
  )
  await waitOnExecutionContext(context)
  return { response, answer: (await response.json()) as Record<string, unknown>, queued, point: points[0] }
}

export const rowsOf = (channel: string) =>
  query<{ raw_content: string; time: string; payload: unknown }>(
    "select raw_content, time::text, payload from signals where context_window_id = $1",
    [`T1/${channel}`],
  )
