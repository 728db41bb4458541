import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { text } from "node:stream/consumers"
import type { Signal } from "../src/signals/schema.ts"
import { clientOf, closeClients, openClients } from "./harness/database.ts"
import { openAgent, post } from "./harness/http.ts"
import { makeBatches } from "./harness/signals.ts"
import type { Stack } from "./harness/stack.ts"
import { inTurns, type Subject } from "./harness/subject.ts"

/** A statement of the Worker, with the index of the parameter that holds the batch's id. */
export interface Statement {
  query: string
  params: (string | null)[]
  transactionIdAt: number
}

/**
 * Records the statements that the Worker sends for batches of each size, so that `direct` runs exactly the
 * same ones.
 */
export async function recordStatements(
  stack: Stack,
  sizes: readonly number[],
): Promise<Map<number, Statement[]>> {
  const recorder = await startRecorder(stack.endpoint.url)
  const worker = await stack.startWorker(recorder.url)
  const agent = openAgent(1)
  const record = async (signals: Signal[]): Promise<Statement> => {
    const answer = await post(
      agent,
      `${worker.address}/api/signals/batch`,
      Buffer.from(JSON.stringify({ signals })),
      200,
    )
    const { query, params } = JSON.parse(recorder.lastRequest()) as Omit<Statement, "transactionIdAt">
    return { query, params, transactionIdAt: params.indexOf(JSON.parse(String(answer)).transaction_id) }
  }
  try {
    const recorded = new Map<number, Statement[]>()
    for (const size of sizes) {
      const statements: Statement[] = []
      for (const signals of makeBatches(size)) statements.push(await record(signals))
      recorded.set(size, statements)
    }
    return recorded
  } finally {
    agent.destroy()
    await worker.stop()
    recorder.stop()
  }
}

/** A proxy between a Worker and the endpoint, which keeps the last request. */
async function startRecorder(
  endpointUrl: string,
): Promise<{ url: string; lastRequest(): string; stop(): void }> {
  let lastRequest = ""
  const server = createServer(async (request, response) => {
    lastRequest = await text(request)
    const connectionString = String(request.headers["neon-connection-string"])
    const headers = {
      "Neon-Connection-String": connectionString,
      "Neon-Raw-Text-Output": "true",
      "Neon-Array-Mode": "true",
    }
    const answer = await fetch(endpointUrl, { method: "POST", body: lastRequest, headers })
    response.writeHead(answer.status, { "Content-Type": "application/json" }).end(await answer.text())
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/sql`,
    lastRequest: () => lastRequest,
    stop() {
      server.close()
      server.closeAllConnections()
    },
  }
}

/**
 * The service's statement sent by `pg`, with one connection for each caller: the baseline for Worker, driver
 * and endpoint.
 */
export async function direct(
  stack: Stack,
  statements: readonly Statement[],
  callers: number,
): Promise<Subject> {
  const clients = await openClients(stack.postgres.url, callers)
  const types = { getTypeParser: () => (value: string) => value }
  const next = inTurns(statements)
  return {
    async send(caller) {
      const { query, params, transactionIdAt } = next()
      const values = params.with(transactionIdAt, crypto.randomUUID())
      const { rows } = await clientOf(clients, caller).query({ text: query, values, rowMode: "array", types })
      if (rows.length !== 1) throw new Error("the statement stored nothing")
    },
    close: () => closeClients(clients),
  }
}
