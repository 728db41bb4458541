import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test"
import { app } from "../../../../src/app.ts"
import type { Bindings } from "../../../../src/bindings.ts"
import type { BatchRecord } from "../../../../src/signals/responses.ts"
import { bindings, send } from "../../service.ts"

export const ASYNC = { Prefer: "respond-async" }

export const recordOf = async (transactionId: string) =>
  (await (await send(`/api/batches/${transactionId}`)).json()) as BatchRecord

/**
 * Sends a batch to a path of the service, with a queue that only takes, so that the test decides when a
 * message is delivered.
 */
export async function postTo(
  body: unknown,
  headers: Record<string, string> = {},
  changed: Partial<Bindings> = {},
  path = "/api/signals/batch",
) {
  const sent: string[] = []
  const queue = { send: async (text: string) => void sent.push(text) } as unknown as Queue
  const context = createExecutionContext()
  const init = {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers: { "Content-Type": "application/json", ...headers },
  }
  const response = await app.request(path, init, { ...bindings, QUEUE: queue, ...changed }, context)
  await waitOnExecutionContext(context)
  return { response, answer: (await response.json()) as BatchRecord, sent }
}
