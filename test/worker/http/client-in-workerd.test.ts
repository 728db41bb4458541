import { exports } from "cloudflare:workers"
import { expect, it } from "vitest"
import { BatchProcessor, SignalClient } from "../../../src/client/index.ts"
import { countOf, freshConversation } from "../service.ts"

/** The service under test, as another Worker's binding to it would be. */
const service = (exports as unknown as { default: { fetch: typeof fetch } }).default
const client = new SignalClient({
  url: "http://signal-ingest.test",
  fetch: (input, init) => service.fetch(input, init),
})

it("the client library runs in workerd, too", async () => {
  const conversation = freshConversation()
  const signals = Array.from({ length: 300 }, (_, index) => ({
    context_window_id: conversation,
    raw_content: String(index),
    payload: { n: 2n ** 70n },
  }))
  const answer = await client.createBatch(signals)
  expect(answer).toMatchObject({ successful_count: 300 })
  expect(await client.batch(answer.transaction_id ?? "")).toMatchObject({ state: "stored" })
  let listed = 0
  for await (const _ of client.list({ context_window_id: conversation, pageSize: 100 })) listed++
  expect(listed).toBe(300)
  const processor = new BatchProcessor(client)
  for (const signal of signals.slice(0, 150)) await processor.add(signal)
  await processor.close()
  expect(await countOf(conversation)).toBe(450)
})
