import { Client } from "pg"
import { inject } from "vitest"
import { type NeonEndpoint, startNeonEndpoint } from "../../src/local/neon/endpoint.ts"
import type { LocalPostgres } from "../../src/local/postgres/postgres.ts"
import { createServiceLogin } from "../../src/local/postgres/service-login.ts"
import { startCopy } from "./vitest/postgres-template.ts"
import { type BundleOptions, type RunningBundle, runBundle } from "./workerd.ts"

/** A Postgres that may be killed, behind an endpoint that may misbehave. */
export interface Storage {
  postgres: LocalPostgres
  endpoint: NeonEndpoint
  /** The settings by which a Worker finds them. */
  bindings: Record<string, string>
  /** Asks Postgres itself, on a connection of its own. */
  query<Row>(text: string, values?: unknown[]): Promise<Row[]>
  stop(): Promise<void>
}

/** Runs one statement on a connection of its own. */
export async function queryAt<Row>(url: string, text: string, values: unknown[] = []): Promise<Row[]> {
  const client = new Client({ connectionString: url })
  // Of a server that is killed. The query rejects, too.
  client.on("error", () => {})
  await client.connect()
  try {
    return (await client.query(text, values)).rows as Row[]
  } finally {
    await client.end()
  }
}

/**
 * @param parent the folder below which the database keeps its data; default: the system's for temporary files
 */
export async function startStorage(parent?: string): Promise<Storage> {
  const postgres = await startCopy(inject("postgresTemplate"), parent)
  const endpoint = await startNeonEndpoint()
  return {
    postgres,
    endpoint,
    bindings: {
      DATABASE_URL: await createServiceLogin(postgres.url),
      DATABASE_HTTP_ENDPOINT: endpoint.url,
      OPEN_ACCESS: "true",
    },
    query: (text, values) => queryAt(postgres.url, text, values),
    async stop() {
      await endpoint.stop()
      await postgres.stop()
    },
  }
}

/** Keeps every statement on these tables waiting until the end of `work`. */
export async function lockedTables<T>(
  { postgres }: Pick<Storage, "postgres">,
  tables: readonly string[],
  work: () => Promise<T>,
): Promise<T> {
  const holder = new Client({ connectionString: postgres.url })
  await holder.connect()
  try {
    await holder.query("begin")
    await holder.query(`lock table ${tables.join(", ")}`)
    return await work()
  } finally {
    await holder.end()
  }
}

/** The deployed bundle on bare workerd, in front of such a database. */
export interface Rig extends Storage {
  service: RunningBundle
}

export async function startRig(settings: Record<string, string> = {}, options?: BundleOptions): Promise<Rig> {
  const storage = await startStorage()
  const service = await runBundle(inject("bundle"), { ...storage.bindings, ...settings }, options)
  return {
    ...storage,
    service,
    async stop() {
      await service.stop()
      await storage.stop()
    },
  }
}

export interface Sent {
  conversation: string
  status: number
  headers: Headers
  body: { detail?: string; transaction_id?: string; successful_count?: number }
}

const SIZE = 20

/** Sends a batch of 20 signals, or `size`, each with its index as content, to a conversation of its own. */
export async function sendBatch(
  rig: Rig,
  headers: Record<string, string> = {},
  conversation = crypto.randomUUID() as string,
  size = SIZE,
): Promise<Sent> {
  const signals = Array.from({ length: size }, (_, index) => ({
    context_window_id: conversation,
    raw_content: String(index),
  }))
  const response = await fetch(`${rig.service.address}/api/signals/batch`, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify({ signals }),
  })
  return {
    conversation,
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Sent["body"],
  }
}

/** The conversations whose signals are not in the table once each, and the ones of which only a part is. */
export async function misstored(
  rig: Rig,
  acknowledged: readonly string[],
  size = SIZE,
): Promise<{ lostOrDoubled: string[]; torn: string[] }> {
  const rows = await rig.query<{ conversation: string; signals: number; contents: number }>(
    `select context_window_id as conversation, count(*)::int4 as signals, count(distinct raw_content)::int4 as contents from signals group by 1`,
  )
  const stored = new Map(rows.map((row) => [row.conversation, row]))
  return {
    lostOrDoubled: acknowledged.filter((conversation) => stored.get(conversation)?.signals !== size),
    torn: rows.filter(({ contents }) => contents !== size).map(({ conversation }) => conversation),
  }
}
