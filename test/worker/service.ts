import { env, exports } from "cloudflare:workers"
import { neon, neonConfig } from "@neondatabase/serverless"
import type { Bindings } from "../../src/bindings.ts"

export const bindings = env as Bindings & { TEST_DATABASE_OWNER_URL: string; TEST_RECEIVER: string }

const worker = (exports as unknown as { default: { fetch: typeof fetch } }).default

/**
 * Sends a request to the Worker under test. A body that it refuses on a busy machine, since too many requests
 * wait, is sent again, as a sender does.
 */
export async function send(path: string, init?: RequestInit): Promise<Response> {
  for (;;) {
    const response = await worker.fetch(`http://signal-ingest.test${path}`, init)
    if (response.status !== 503 || typeof init?.body !== "string") return response
    const { code } = (await response.clone().json()) as { code?: string }
    if (code !== "overloaded") return response
    await new Promise((resolve) => setTimeout(resolve, Number(response.headers.get("Retry-After")) * 1000))
  }
}

export function postJson(
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  const text = typeof body === "string" ? body : JSON.stringify(body)
  return send(path, {
    method: "POST",
    body: text,
    headers: { "Content-Type": "application/json", ...headers },
  })
}

export const postBatch = (body: unknown, headers: Record<string, string> = {}) =>
  postJson("/api/signals/batch", body, headers)

/** Asks the database itself, past the service, as the owner of the tables. */
export function query<Row>(text: string, params: unknown[] = []): Promise<Row[]> {
  if (bindings.DATABASE_HTTP_ENDPOINT) neonConfig.fetchEndpoint = bindings.DATABASE_HTTP_ENDPOINT
  return neon(bindings.TEST_DATABASE_OWNER_URL).query(text, params) as Promise<Row[]>
}

/**
 * A number that every rule passes and only the database refuses: its numeric holds 131,072 digits before the
 * point.
 */
export const TOO_LONG_FOR_POSTGRES = "9".repeat(131_073)

/**
 * The plan that Postgres makes for a statement while a sort costs it more than anything else: it has a sort
 * only when no index gives the order, whatever the statistics of the tables are.
 */
export async function planAvoidingSort(statement: string, params: unknown[] = []): Promise<string> {
  if (bindings.DATABASE_HTTP_ENDPOINT) neonConfig.fetchEndpoint = bindings.DATABASE_HTTP_ENDPOINT
  const owner = neon(bindings.TEST_DATABASE_OWNER_URL)
  const [, plan] = await owner.transaction([
    owner.query("set local enable_sort = off"),
    owner.query(`explain ${statement}`, params),
  ])
  const lines = (plan ?? []).map((line) => String(line["QUERY PLAN"]))
  // A merge of the partitions' indexes names its order, and sorts nothing.
  return lines.filter((line) => !line.trim().startsWith("Sort Key:")).join("\n")
}

/** A conversation no other test writes to. */
export const freshConversation = () => `conv-${crypto.randomUUID()}`

/** How many signals a conversation has in the table. */
export async function countOf(conversation: string): Promise<number> {
  const [row] = await query<{ count: number }>(
    "select count(*)::int4 as count from signals where context_window_id = $1",
    [conversation],
  )
  return row?.count ?? 0
}
