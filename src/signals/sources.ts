/** What the service needs to know of a webhook. */
interface Webhook {
  /** Method and path, as log, metrics and the description of the API name them. */
  route: `POST /webhooks/${string}`
  /** The prefixes of the dedupe keys that its bridge gives to records. No other sender may use them. */
  keyPrefixes: readonly string[]
}

/**
 * The webhooks of the service. Each further part of a webhook is in a table by this type, so that a new one
 * does not compile until every part is there: its handler (`app.ts`), its description (`openapi/webhooks.ts`)
 * and the mapping of its records on replay (`bridges/mappers.ts`).
 */
export const WEBHOOKS = {
  slack: { route: "POST /webhooks/slack", keyPrefixes: ["slack:"] },
  kafka: { route: "POST /webhooks/kafka", keyPrefixes: ["kafka:", "cloudevent:"] },
} as const satisfies Record<string, Webhook>

export type WebhookSource = keyof typeof WEBHOOKS
export const WEBHOOK_SOURCES = Object.keys(WEBHOOKS) as WebhookSource[]

/** The path of a webhook. */
export type WebhookPath = (typeof WEBHOOKS)[WebhookSource]["route"] extends `POST ${infer Path}`
  ? Path
  : never
export const pathOf = (source: WebhookSource) => WEBHOOKS[source].route.slice("POST ".length)

/**
 * The entry points of dead letters, which decide how a replay maps a record. `signal`: a signal that only the
 * database refused. `queue`: a whole message that the consumer could not store.
 * `score`: a score whose signal did not come.
 */
export type DeadLetterSource = WebhookSource | "signal" | "queue" | "score"
export const DEAD_LETTER_SOURCES: readonly [DeadLetterSource, ...DeadLetterSource[]] = [
  "signal",
  "queue",
  "score",
  ...WEBHOOK_SOURCES,
]
