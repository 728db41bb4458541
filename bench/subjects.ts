import { once } from "node:events"
import { createServer } from "node:http"
import { Readable } from "node:stream"
import { text } from "node:stream/consumers"
import { pipeline } from "node:stream/promises"
import type pg from "pg"
import { openConnection } from "./database.ts"
import { openAgent, post } from "./http.ts"
import { copyFrom } from "./pg-copy.ts"
import { makeRows, makeSignals, SEED } from "./signals.ts"
import type { Stack } from "./stack.ts"

/** Something that carries `size` signals to the table, ready to be asked by several callers at once. */
export interface Subject {
  /** Stores one batch; `caller` counts from 0. */
  send(caller: number): Promise<void>
  close(): Promise<void>
}

/** Bodies that differ, so that not every request touches the same index pages; taken in turns. */
const BODIES = 4

/** POST /api/signals/batch */
export function batchRoute(stack: Stack, size: number, callers: number): Subject {
  const bodies = Array.from({ length: BODIES }, (_, i) => Buffer.from(JSON.stringify({ signals: makeSignals(size, SEED + i) })))
  return route(`${stack.worker.address}/api/signals/batch`, bodies, 200, callers)
}

/** POST /api/signals, one signal a request */
export function singleRoute(stack: Stack, callers: number): Subject {
  const bodies = makeSignals(100).map((signal) => Buffer.from(JSON.stringify(signal)))
  return route(`${stack.worker.address}/api/signals`, bodies, 201, callers)
}

function route(url: string, bodies: readonly Buffer[], status: number, callers: number): Subject {
  const agent = openAgent(callers)
  let next = 0
  return {
    async send() {
      await post(agent, url, bodies[next++ % bodies.length] as Buffer, status)
    },
    async close() {
      agent.destroy()
    },
  }
}

/** A statement as the Worker sends it to its database, with the place of the one parameter that names the batch. */
export interface Statement {
  query: string
  params: (string | null)[]
  transactionIdAt: number
}

/**
 * What the Worker sends for a batch of `size`: taken from the wire, so that `direct` runs the very same statement.
 */
export async function recordStatement(stack: Stack, size: number): Promise<Statement> {
  const requests: string[] = []
  const recorder = createServer(async (request, response) => {
    const body = await text(request)
    requests.push(body)
    const connectionString = String(request.headers["neon-connection-string"])
    const headers = { "Neon-Connection-String": connectionString, "Neon-Raw-Text-Output": "true", "Neon-Array-Mode": "true" }
    const answer = await fetch(stack.endpoint.url, { method: "POST", body, headers })
    response.writeHead(answer.status, { "Content-Type": "application/json" }).end(await answer.text())
  })
  recorder.listen(0, "127.0.0.1")
  await once(recorder, "listening")
  const address = recorder.address()
  const port = typeof address === "object" ? address?.port : undefined
  const worker = await stack.startWorker(`http://127.0.0.1:${port}/sql`)
  const agent = openAgent(1)
  try {
    const body = Buffer.from(JSON.stringify({ signals: makeSignals(size) }))
    const answer = JSON.parse(String(await post(agent, `${worker.address}/api/signals/batch`, body, 200)))
    const { query, params } = JSON.parse(requests.at(-1) ?? "{}") as { query: string; params: string[] }
    return { query, params, transactionIdAt: params.indexOf(answer.transaction_id) }
  } finally {
    agent.destroy()
    await worker.stop()
    recorder.closeAllConnections()
    recorder.close()
  }
}

/** The service's own statement straight from `pg`, one connection a caller: what Worker, driver and endpoint are measured against. */
export async function direct(stack: Stack, statement: Statement, callers: number): Promise<Subject> {
  const clients = await openClients(stack, callers)
  const types = { getTypeParser: () => (value: string) => value }
  return {
    async send(caller) {
      const values = statement.params.with(statement.transactionIdAt, crypto.randomUUID())
      const { rows } = await clientOf(clients, caller).query({ text: statement.query, values, rowMode: "array", types })
      if (rows.length !== 1) throw new Error("the statement stored nothing")
    },
    close: () => closeClients(clients),
  }
}

/** COPY of the same rows into the same table: what Postgres can do at best. */
export async function copy(stack: Stack, size: number, callers: number): Promise<Subject> {
  const clients = await openClients(stack, callers)
  const lines = copyText(size)
  return {
    async send(caller) {
      await pipeline(
        Readable.from([lines]),
        clientOf(clients, caller).query(copyFrom(`copy signals (${COPY_COLUMNS}) from stdin`)),
      )
    },
    close: () => closeClients(clients),
  }
}

const COPY_COLUMNS =
  "transaction_id, context_window_id, time, raw_content, signal_source, signal_score, emotional_tone, escalate_flag, agent_id, user_id, payload"

/** @see https://www.postgresql.org/docs/18/sql-copy.html#SQL-COPY-FILE-FORMATS */
function copyText(size: number): Buffer {
  const field = (value: string | number | null) =>
    value === null ? "\\N" : String(value).replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\t", "\\t")
  const transactionId = crypto.randomUUID()
  const lines = makeRows(size).map((row) =>
    [
      transactionId,
      row.contextWindowId,
      row.time,
      row.rawContent,
      row.signalSource,
      row.signalScore,
      row.emotionalTone,
      row.escalateFlag,
      row.agentId,
      row.userId,
      row.payload || null,
    ]
      .map(field)
      .join("\t"),
  )
  return Buffer.from(`${lines.join("\n")}\n`)
}

async function openClients(stack: Stack, count: number): Promise<pg.Client[]> {
  const opened = await Promise.all(Array.from({ length: count }, () => openConnection(stack.postgres.url)))
  return opened.map(({ client }) => client)
}

function clientOf(clients: readonly pg.Client[], caller: number): pg.Client {
  const client = clients[caller]
  if (!client) throw new Error(`no connection for caller ${caller}`)
  return client
}

async function closeClients(clients: readonly pg.Client[]): Promise<void> {
  await Promise.all(clients.map((client) => client.end()))
}
