import { createDocument, type ZodOpenApiObject } from "zod-openapi"
import manifest from "../../package.json" with { type: "json" }
import { getAudit } from "./audit.ts"
import * as deadLetters from "./dead-letters.ts"
import * as erasures from "./erasures.ts"
import { HEADER_COMPONENTS, PREFLIGHT, withSharedHeaders } from "./headers.ts"
import * as keys from "./keys.ts"
import { METHOD_NOT_ALLOWED } from "./operation.ts"
import * as read from "./reads.ts"
import { createScores } from "./scores.ts"
import { getStorage } from "./storage.ts"
import * as subscriptions from "./subscriptions.ts"
import { WEBHOOK_PATHS } from "./webhooks.ts"
import * as write from "./writes.ts"

/**
 * All routes of the service. For a new route, add its operation to a file in this folder, and a line here.
 */
const PATHS: NonNullable<ZodOpenApiObject["paths"]> = {
  "/api/signals/batch": { post: write.createBatch },
  "/api/signals": { post: write.createSignal, get: read.listSignals },
  "/api/signals/export": { get: read.exportSignals },
  "/api/signals/feed": { get: read.readFeed },
  "/api/signals/stats": { get: read.signalStats },
  "/api/signals/{id}": { get: read.getSignal },
  "/api/scores": { post: createScores },
  "/api/batches": { get: read.listBatches },
  "/api/batches/{transaction_id}": { get: read.getBatch },
  ...WEBHOOK_PATHS,
  "/api/dead-letters": { get: deadLetters.listDeadLetters },
  "/api/dead-letters/replay": { post: deadLetters.replayDeadLetters },
  "/api/dead-letters/{id}": { get: deadLetters.getDeadLetter, delete: deadLetters.discardDeadLetter },
  "/api/dead-letters/{id}/replay": { post: deadLetters.replayDeadLetter },
  "/api/erasures": { post: erasures.createErasure, get: erasures.listErasures },
  "/api/erasures/{erasure_id}": { get: erasures.getErasure },
  "/api/keys": { post: keys.createKey, get: keys.listKeys },
  "/api/keys/{key_id}": { get: keys.getKey, patch: keys.limitKey, delete: keys.revokeKey },
  "/api/keys/{key_id}/usage": { get: keys.getKeyUsage },
  "/api/keys/{key_id}/rotate": { post: keys.rotateKey },
  "/api/subscriptions": { post: subscriptions.createSubscription, get: subscriptions.listSubscriptions },
  "/api/subscriptions/{subscription_id}": {
    get: subscriptions.getSubscription,
    patch: subscriptions.changeSubscription,
    delete: subscriptions.deleteSubscription,
  },
  "/api/subscriptions/{subscription_id}/test": { post: subscriptions.testSubscription },
  "/api/subscriptions/{subscription_id}/secret": { post: subscriptions.replaceSecret },
  "/api/subscriptions/{subscription_id}/resend": { post: subscriptions.resendSignals },
  "/api/audit": { get: getAudit },
  "/api/storage": { get: getStorage },
  "/api/metrics": { get: read.getMetrics },
  "/metrics": { get: read.getCounters },
  "/healthz": { get: read.isAlive },
  "/readyz": { get: read.isReady },
  "/openapi.json": { get: read.getOpenApi },
}

/**
 * The source of the document: the schemas that the routes validate with, and examples of requests and
 * answers.
 */
export const DESCRIPTION: ZodOpenApiObject = {
  openapi: "3.1.1",
  info: {
    title: "signal-ingest",
    version: manifest.version,
    description:
      "Send signals in batches; the service validates each one and stores it exactly once in Postgres. A signal is one event of " +
      "a conversation: who said or did what, when, and how it scored. Only `context_window_id`, the conversation, is required.\n\n" +
      "A first call, which works as it is on a service that `npm start` runs:\n\n" +
      "```sh\n" +
      "curl localhost:8002/api/signals/batch \\\n" +
      `  -d '{"signals": [{\n` +
      `    "context_window_id": "conv-123",\n` +
      `    "raw_content": "Hello"\n` +
      `  }]}'\n` +
      "```\n\n" +
      'Where the service asks for a key, add `-H "Authorization: Bearer KEY"`. The answer has a result for each signal, in your order, with its id ' +
      "or the reason why it was not stored. Send an `Idempotency-Key` with each batch: then a retry never stores it twice.\n\n" +
      "Every answer has an `X-Request-Id`, which is also in the service's log. " +
      "Every error is JSON with a `detail`: one sentence, or a list of errors.\n\n" +
      "GET paths also answer HEAD. Any other method, such as TRACE or OPTIONS, gets 405 with `Allow` (response `MethodNotAllowed`), " +
      "and a preflight of an origin in `CORS_ORIGINS` gets 204 (response `Preflight`).",
  },
  servers: [{ url: "/", description: "This deployment" }],
  tags: [
    { name: "Signals", description: "Store signals in batches or one by one; read them by page or by id." },
    { name: "Batches", description: "The ledger: the result of each batch." },
    { name: "Webhooks", description: "For services that push their events." },
    {
      name: "Dead letters",
      description:
        "Acknowledged records that could not become signals; kept until they are replayed or discarded.",
    },
    { name: "Erasures", description: "Deletion on request, and suppression of later signals." },
    { name: "Keys", description: "API keys that are made, rotated and revoked while the service runs." },
    { name: "Subscriptions", description: "Signed calls to your own addresses about new signals." },
    { name: "Audit", description: "The ledger compared with the signals and the dedupe keys." },
    { name: "Storage", description: "The size of the tables, and when the oldest signals are deleted." },
    { name: "Metrics", description: "Figures as JSON, and counters for Prometheus." },
    { name: "Health", description: "For probes and tools; no key is needed." },
  ],
  components: {
    ...HEADER_COMPONENTS,
    responses: { MethodNotAllowed: METHOD_NOT_ALLOWED, Preflight: PREFLIGHT },
    securitySchemes: {
      key: {
        type: "http",
        scheme: "bearer",
        description:
          "A key of `API_KEYS`, or one that was made at `/api/keys`. An open deployment, such as `npm start`, needs none.",
      },
    },
  },
  security: [{ key: [] }],
  paths: withSharedHeaders(PATHS),
}

/** The OpenAPI 3.1 description of the service. */
export const openApi = () => createDocument(DESCRIPTION, { allowEmptySchema: { custom: true } })
