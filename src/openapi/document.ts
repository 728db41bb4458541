import { createDocument, type ZodOpenApiObject } from "zod-openapi"
import * as deadLetters from "./dead-letters.ts"
import * as read from "./reads.ts"
import * as webhook from "./webhooks.ts"
import * as write from "./writes.ts"

/** Every route of the service. One that is added to the app is added here, with an operation in the file beside it that fits. */
const PATHS: NonNullable<ZodOpenApiObject["paths"]> = {
  "/api/signals/batch": { post: write.createBatch },
  "/api/signals": { post: write.createSignal, get: read.listSignals },
  "/api/signals/stats": { get: read.signalStats },
  "/api/signals/{id}": { get: read.getSignal },
  "/api/batches": { get: read.listBatches },
  "/api/batches/{transaction_id}": { get: read.getBatch },
  "/webhooks/slack": { post: webhook.takeSlackEvent },
  "/webhooks/kafka": { post: webhook.takeKafkaRecords },
  "/api/dead-letters": { get: deadLetters.listDeadLetters },
  "/api/dead-letters/replay": { post: deadLetters.replayDeadLetters },
  "/api/dead-letters/{id}": { get: deadLetters.getDeadLetter, delete: deadLetters.discardDeadLetter },
  "/api/dead-letters/{id}/replay": { post: deadLetters.replayDeadLetter },
  "/api/metrics": { get: read.getMetrics },
  "/metrics": { get: read.getCounters },
  "/healthz": { get: read.isAlive },
  "/readyz": { get: read.isReady },
  "/openapi.json": { get: read.getOpenApi },
}

/** What the document is made from: the schemas that the routes validate with, and examples of what they take and answer. */
export const DESCRIPTION: ZodOpenApiObject = {
  openapi: "3.1.1",
  info: {
    title: "signal-ingest",
    version: "0.1.0",
    description:
      "Takes signals in batches, checks each, and stores them exactly once.\n\n" +
      "Every answer has an `X-Request-Id`, by which the service's log names the request. " +
      "Every error is JSON with a `detail`: one sentence, or a list of faults.",
  },
  servers: [{ url: "/", description: "This deployment" }],
  tags: [
    { name: "Signals", description: "What is stored: in by the batch or singly, out by page or by id." },
    { name: "Batches", description: "The ledger: what became of each batch." },
    { name: "Webhooks", description: "Ways in for services that push their events." },
    { name: "Dead letters", description: "What was acknowledged and can't be stored; kept until it is replayed or discarded." },
    { name: "Metrics", description: "Figures for people, and counters for Prometheus." },
    { name: "Health", description: "For probes and tools; no key is asked for." },
  ],
  components: {
    securitySchemes: {
      key: {
        type: "http",
        scheme: "bearer",
        description: "A key of API_KEYS. An open deployment, such as the local one, asks for none.",
      },
    },
  },
  security: [{ key: [] }],
  paths: PATHS,
}

/** The OpenAPI 3.1 description of the service. */
export const openApi = () => createDocument(DESCRIPTION, { allowEmptySchema: { custom: true } })
