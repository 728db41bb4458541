import { BatchesApi, Configuration, SignalsApi } from "./generated/index"

/** Sends a batch and reads it back, with the client that openapi-generator makes for TypeScript. */

declare const process: { argv: string[] }

const configuration = new Configuration({ basePath: process.argv[2] ?? "" })
const signals = new SignalsApi(configuration)
const conversation = crypto.randomUUID()

const stored = await signals.createBatch({
  batchRequest: {
    signals: [
      {
        contextWindowId: conversation,
        timestamp: new Date("2025-01-15T09:30:00.123Z"),
        rawContent: "first",
        signalScore: 0.85,
        escalateFlag: 1,
        payload: { channel: "general" },
      },
      { contextWindowId: conversation, signalScore: 2 },
    ],
  },
  idempotencyKey: conversation,
  failOnError: false,
})
const page = await signals.listSignals({
  contextWindowId: conversation,
  since: new Date("2025-01-15"),
  limit: 1,
})
const batch = await new BatchesApi(configuration).getBatch({ transactionId: stored.transactionId ?? "" })
const one = await signals.getSignal({ id: stored.results[0]?.signalId ?? 0 })

console.log(
  JSON.stringify({
    successful: stored.successfulCount,
    failed: stored.results[1]?.error,
    listed: page.signals.map(({ time }) => time),
    state: batch.state,
    content: one.rawContent,
  }),
)
