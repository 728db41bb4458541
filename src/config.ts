import * as z from "zod"
import { FieldMapping } from "./bridges/kafka/mapping.ts"
import type { AnalyticsSettings } from "./metrics/analytics.ts"
import type { Dataset } from "./metrics/points.ts"
import { MAX_FUTURE_SECONDS, SCOPES } from "./signals/rules.ts"

/** The bindings of a deployment; see docs/deploy.md. `vars` and secrets are text. */
export interface Bindings {
  DATABASE_URL?: string
  /** Only `npm start` sets it: the address of the local SQL endpoint that replaces Neon. */
  DATABASE_HTTP_ENDPOINT?: string
  DATABASE_DEADLINE_MS?: string
  DATABASE_MAX_WRITES?: string
  DATABASE_MAX_READS?: string
  DATABASE_MAX_CONSUMER?: string
  API_KEYS?: string
  OPEN_ACCESS?: string
  CORS_ORIGINS?: string
  MAX_SIGNALS?: string
  MAX_BODY_BYTES?: string
  RATE_LIMIT?: string
  ADDRESS_RATE_LIMIT?: string
  MAX_FUTURE_SECONDS?: string
  RETENTION_DAYS?: string
  LEDGER_RETENTION_DAYS?: string
  CLOUDFLARE_ACCOUNT_ID?: string
  ANALYTICS_API_TOKEN?: string
  /** Only `npm start` sets it: the address of the local stand-in for Cloudflare's Analytics Engine API. */
  ANALYTICS_SQL_ENDPOINT?: string
  METRICS?: Dataset
  /** Counts by caller. */
  RATE_LIMITER?: RateLimit
  /** Counts by address, before authentication. */
  ADDRESS_RATE_LIMITER?: RateLimit
  SLACK_SIGNING_SECRET?: string
  SLACK_SIGNING_SECRET_PREVIOUS?: string
  SLACK_FOLLOW_EDITS?: string
  WEBHOOK_SECRET?: string
  KAFKA_FIELD_MAPPING?: string
  /** The queue of webhook events and asynchronous batches. Without it they are stored at once. */
  QUEUE?: Queue
  /** The bucket of claim checks: content that is too large for a message of the queue. */
  BUCKET?: R2Bucket
}

const LEDGER_RETENTION_DAYS = 90

/** The same number as in `store/ledger/keys.ts`, which this file must not import. */
const KEY_LIFETIME_DAYS = 7

const ApiKeys = z.array(
  z.object({
    name: z
      .string()
      .regex(/^[\w.@-]{1,100}$/, "must be 1 to 100 letters, digits or any of . _ @ -")
      // The name of callers without a key, in the ledger and for the rate limit.
      .refine((name) => name !== "anonymous", "must not be anonymous"),
    sha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/i, "must be 64 hexadecimal digits")
      .toLowerCase(),
    scopes: z.array(z.enum(SCOPES)).min(1),
  }),
)
export type ApiKey = z.infer<typeof ApiKeys>[number]

const wholeNumber = (preset: number) => z.coerce.number().int().min(1).default(preset)

/** A whole number. An empty text means that the setting is not set. */
const quota = z
  .literal("")
  .transform(() => undefined)
  .or(z.coerce.number().int().min(1))
  .optional()

/** JSON as text. An empty text means that the setting is not set. */
const json = (preset: string) =>
  z
    .string()
    .default(preset)
    .transform((text, context) => {
      try {
        return JSON.parse(text || preset)
      } catch {
        context.addIssue("must be JSON")
        return z.NEVER
      }
    })

const days = (least: number, error: string) =>
  z
    .string()
    .refine((text) => text === "" || (/^\d{1,5}$/.test(text) && Number(text) >= least), error)
    .transform((text) => (text === "" ? undefined : Number(text)))

/** 100 years. */
const LONGEST_FUTURE_SECONDS = 3_155_760_000

const MAX_ORIGINS = 50

/**
 * Origins as browsers send them, separated by commas. `*` is not allowed: every page could then call a
 * deployment with open access.
 */
const Origins = z
  .string()
  .default("")
  .transform((text) =>
    text
      .split(",")
      .map((origin) => origin.trim())
      .filter(Boolean),
  )
  .pipe(
    z
      .array(
        z
          .string()
          .refine(
            (origin) => /^https?:[^*]+$/.test(origin) && URL.parse(origin)?.origin === origin,
            "must be origins such as https://app.example.com, in lower case, without a path",
          ),
      )
      .max(MAX_ORIGINS),
  )

const Settings = z.object({
  DATABASE_URL: z.string({ error: "must be set to a Postgres connection string" }),
  DATABASE_HTTP_ENDPOINT: z.url().optional(),
  DATABASE_DEADLINE_MS: wholeNumber(10_000),
  // Together below the 20 connections that Neon's proxy keeps open. More statements at once reduced the
  // throughput.
  DATABASE_MAX_WRITES: wholeNumber(8),
  DATABASE_MAX_READS: wholeNumber(4),
  DATABASE_MAX_CONSUMER: wholeNumber(2),
  MAX_SIGNALS: wholeNumber(10_000),
  MAX_BODY_BYTES: wholeNumber(8 * 1024 * 1024),
  // A rate limiter's binding does not expose its quota, so it is repeated here.
  RATE_LIMIT: quota,
  ADDRESS_RATE_LIMIT: quota,
  // Not 0: signals of every clock that is slightly fast would break the rule.
  MAX_FUTURE_SECONDS: z.coerce.number().int().min(1).max(LONGEST_FUTURE_SECONDS).default(MAX_FUTURE_SECONDS),
  RETENTION_DAYS: days(
    1,
    "must be a whole number of days from 1 to 99999, or empty to keep signals for ever",
  ).optional(),
  LEDGER_RETENTION_DAYS: days(
    KEY_LIFETIME_DAYS,
    `must be a whole number of days from ${KEY_LIFETIME_DAYS} to 99999: an Idempotency-Key is kept for ${KEY_LIFETIME_DAYS} days`,
  ).optional(),
  CLOUDFLARE_ACCOUNT_ID: z.string().optional(),
  ANALYTICS_API_TOKEN: z.string().optional(),
  ANALYTICS_SQL_ENDPOINT: z.url().default("https://api.cloudflare.com/client/v4"),
  SLACK_SIGNING_SECRET: z.string().optional(),
  SLACK_SIGNING_SECRET_PREVIOUS: z.string().optional(),
  SLACK_FOLLOW_EDITS: z.enum(["true", "false", ""]).default("false"),
  WEBHOOK_SECRET: z.string().optional(),
  OPEN_ACCESS: z.enum(["true", "false", ""]).default("false"),
  CORS_ORIGINS: Origins,
  API_KEYS: json("[]").pipe(ApiKeys),
  KAFKA_FIELD_MAPPING: json("{}").pipe(FieldMapping),
})

/** Every setting by its name. */
export const SETTING_NAMES = Settings.keyof().options

export interface Settings {
  database: {
    url: string
    httpEndpoint: string | undefined
    deadlineMs: number
    inFlight: Record<"writes" | "reads" | "consumer", number>
  }
  limits: { maxSignals: number; maxBodyBytes: number; maxFutureSeconds: number }
  /** The quotas of the two rate limiters, where the deployment names them. */
  rateLimits: { caller: number | undefined; address: number | undefined }
  retention: {
    /** The days that a signal is kept after its arrival; undefined: forever. */
    signalDays: number | undefined
    /** The days that ledger rows without signals and settled dead letters are kept. */
    ledgerDays: number
  }
  /** Undefined when metrics are not configured. */
  analytics: AnalyticsSettings | undefined
  access: {
    open: boolean
    keys: ApiKey[]
    /** The origins whose pages may call /api. */
    origins: string[]
  }
  webhooks: {
    /** Any of them may have signed a call. Without one, every call is refused. */
    slackSecrets: string[]
    /** Whether edits and deletions in Slack change stored signals. */
    followSlackEdits: boolean
    standardSecrets: string[]
    kafkaMapping: FieldMapping
  }
}

/** A setting is missing or wrong. The message names it and its rule, never its value. */
export class ConfigurationError extends Error {}

const read = new WeakMap<Bindings, Settings>()

/** Reads and checks the settings of a deployment, once for each isolate. Throws `ConfigurationError`. */
export function readSettings(bindings: Bindings): Settings {
  const known = read.get(bindings)
  if (known) return known
  const result = Settings.safeParse(bindings)
  if (!result.success) {
    const errors = result.error.issues.map(
      ({ path: [name, ...rest], message }) => `${[name, ...rest].join(".")}: ${message}`,
    )
    throw new ConfigurationError(`Wrong configuration. ${errors.join("; ")}`)
  }
  const { data } = result
  const settings = {
    database: {
      url: databaseUrl(data.DATABASE_URL),
      httpEndpoint: data.DATABASE_HTTP_ENDPOINT,
      deadlineMs: data.DATABASE_DEADLINE_MS,
      inFlight: {
        writes: data.DATABASE_MAX_WRITES,
        reads: data.DATABASE_MAX_READS,
        consumer: data.DATABASE_MAX_CONSUMER,
      },
    },
    limits: {
      maxSignals: data.MAX_SIGNALS,
      maxBodyBytes: data.MAX_BODY_BYTES,
      maxFutureSeconds: data.MAX_FUTURE_SECONDS,
    },
    rateLimits: { caller: data.RATE_LIMIT, address: data.ADDRESS_RATE_LIMIT },
    retention: {
      signalDays: data.RETENTION_DAYS,
      ledgerDays: data.LEDGER_RETENTION_DAYS ?? LEDGER_RETENTION_DAYS,
    },
    analytics: analyticsSettings(data),
    access: { open: data.OPEN_ACCESS === "true", keys: data.API_KEYS, origins: data.CORS_ORIGINS },
    webhooks: {
      slackSecrets: [data.SLACK_SIGNING_SECRET ?? "", data.SLACK_SIGNING_SECRET_PREVIOUS ?? ""].filter(
        Boolean,
      ),
      followSlackEdits: data.SLACK_FOLLOW_EDITS === "true",
      // There are two during a rotation.
      standardSecrets: data.WEBHOOK_SECRET?.split(/\s+/).filter(Boolean) ?? [],
      kafkaMapping: data.KAFKA_FIELD_MAPPING,
    },
  }
  read.set(bindings, settings)
  return settings
}

function analyticsSettings(data: z.infer<typeof Settings>): AnalyticsSettings | undefined {
  const {
    CLOUDFLARE_ACCOUNT_ID: accountId,
    ANALYTICS_API_TOKEN: token,
    ANALYTICS_SQL_ENDPOINT: endpoint,
  } = data
  return accountId && token ? { accountId, token, endpoint } : undefined
}

/** Checks the connection string, because the driver's error for a wrong one quotes it with the password. */
function databaseUrl(text: string): string {
  const url = URL.parse(text)
  const names =
    url && /^postgres(ql)?:$/.test(url.protocol) && url.username && url.hostname && url.pathname.length > 1
  if (!names)
    throw new ConfigurationError(
      "Wrong configuration. DATABASE_URL: must be postgresql://user:password@host/database",
    )
  return text
}
