import { type Agent, request } from "node:http"
import type { Signal } from "../../src/signals/schema.ts"
import { makeSignals } from "../harness/signals.ts"
import { CONVERSATIONS, USERS } from "./fill.ts"

const DAY_MS = 86_400_000

const daysAgo = (days: number) => new Date(Date.now() - days * DAY_MS).toISOString()

/** Follows the distribution of `fill`. */
const conversation = () => `conv-${Math.floor(CONVERSATIONS * Math.random() ** 3)}`

const list = (filter: Record<string, string>) => `/api/signals?${new URLSearchParams(filter)}`
const stats = (days: number) => `/api/signals/stats?${new URLSearchParams({ since: daysAgo(days) })}`

let key = 0

/**
 * Makes a random batch: random conversations, 95 % of now and 5 % with a random time of the year, 30 % with a
 * dedupe_key.
 */
export function makeScaleBatch(size: number): Signal[] {
  return makeSignals(size, Math.floor(Math.random() * 2 ** 31)).map((signal) => ({
    ...signal,
    context_window_id: conversation(),
    timestamp: Math.random() < 0.95 ? new Date().toISOString() : daysAgo(Math.random() * 365),
    ...(Math.random() < 0.3 && { dedupe_key: `sent-${Date.now()}-${key++}` }),
  }))
}

export interface Read {
  name: string
  /** The path of the next call. */
  path: () => string
}

export const statsOfADay: Read = {
  name: "stats of a day (dashboard, limit=20)",
  path: () => "/api/signals/stats?limit=20",
}

/** @param ids returns the id of a stored signal */
export const readsOf = (ids: () => number): Read[] => [
  { name: "newest 100", path: () => list({}) },
  { name: "newest 1,000", path: () => list({ limit: "1000" }) },
  { name: "an hour of the year", path: () => list({ until: daysAgo(Math.random() * 360 + 1) }) },
  { name: "a conversation", path: () => list({ context_window_id: conversation() }) },
  { name: "the largest conversation", path: () => list({ context_window_id: "conv-0" }) },
  { name: "a conversation that is absent", path: () => list({ context_window_id: "none" }) },
  {
    name: "conversation + source",
    path: () => list({ context_window_id: "conv-0", signal_source: "slack" }),
  },
  {
    name: "conversation + a source it never had",
    path: () => list({ context_window_id: "conv-0", signal_source: "kafka" }),
  },
  { name: "conversation + score", path: () => list({ context_window_id: "conv-0", min_score: "0.999" }) },
  { name: "a source", path: () => list({ signal_source: "kafka" }) },
  { name: "a rare source (0.01 %)", path: () => list({ signal_source: "rare" }) },
  { name: "a user", path: () => list({ user_id: `user-${Math.floor(Math.random() * USERS)}` }) },
  { name: "an agent", path: () => list({ agent_id: "agent-7" }) },
  { name: "an agent that is absent", path: () => list({ agent_id: "none" }) },
  { name: "escalated", path: () => list({ escalate_flag: "1" }) },
  {
    name: "source + agent + score",
    path: () => list({ signal_source: "kafka", agent_id: "agent-7", min_score: "0.9" }),
  },
  { name: "a text in most signals", path: () => list({ q: "REVIEW THE QUEUE" }) },
  { name: "a text that is absent", path: () => list({ q: "absent" }) },
  {
    name: "conversation + text that is absent",
    path: () => list({ context_window_id: "conv-0", q: "absent" }),
  },
  { name: "a value of the payload", path: () => list({ "payload.tags": "queue" }) },
  { name: "a value of the payload that is absent", path: () => list({ "payload.thread": "-1" }) },
  { name: "by id", path: () => `/api/signals/${ids()}` },
  statsOfADay,
  { name: "stats of 7 days", path: () => stats(7) },
  { name: "stats of 30 days", path: () => stats(30) },
  { name: "stats of a year", path: () => stats(365) },
  { name: "ledger", path: () => "/api/batches" },
]

/** Reads the whole answer. A 422 is a valid answer: the read would be too costly. */
export function get(agent: Agent, url: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent }, (response) => {
      response.on("error", reject)
      response.on("end", () => {
        const status = response.statusCode ?? 0
        if (status === 200 || status === 422) resolve(status)
        else reject(new Error(`${url} answered ${status}`))
      })
      response.resume()
    })
    sent.on("error", reject)
    sent.end()
  })
}
