import * as z from "zod"
import { FieldMapping } from "./bridges/kafka/mapping.ts"
import { LoggableError } from "./errors.ts"
import { ANONYMOUS_NAME, KEY_NAME } from "./keys/form.ts"
import type { AnalyticsSettings } from "./metrics/analytics.ts"
import { KEY_LIFETIME_DAYS, MAX_FUTURE_SECONDS, SCOPES } from "./signals/rules.ts"

const LEDGER_RETENTION_DAYS = 90

const ApiKeys = z.array(
  z.object({
    name: z
      .string()
      .regex(KEY_NAME, "must be 1 to 100 letters, digits or any of . _ @ -")
      // The name of callers without a key, in the ledger and for the rate limit.
      .refine((name) => name !== ANONYMOUS_NAME, "must not be anonymous"),
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

/** What Slack signs with. With white space, such as a line end, no signature is ever right. */
const SlackSecret = z.string().regex(/^\S*$/, "must have no white space").optional()

/**
 * Secrets of Standard Webhooks, separated by white space.
 *
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#symmetric
 */
const WebhookSecrets = z
  .string()
  .default("")
  .transform((text) => text.split(/\s+/).filter(isSet))
  .pipe(z.array(z.string().refine(isWebhookSecret, "must be whsec_ and 24 to 64 bytes in Base64")))

/** What seals the secrets of subscriptions, separated by white space: the first seals, each of them opens. */
const SealingSecrets = z
  .string()
  .default("")
  .transform((text) => text.split(/\s+/).filter(isSet))
  .pipe(z.array(z.string().min(32, "must be at least 32 characters")).max(5))

/** Every setting of a deployment, with its rule and its default; docs/deploy.md says what each means. */
const Variables = z.object({
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
    "must be a whole number of days from 1 to 99999, or empty to keep signals forever",
  ).optional(),
  LEDGER_RETENTION_DAYS: days(
    KEY_LIFETIME_DAYS,
    `must be a whole number of days from ${KEY_LIFETIME_DAYS} to 99999: an Idempotency-Key is kept for ${KEY_LIFETIME_DAYS} days`,
  ).optional(),
  CLOUDFLARE_ACCOUNT_ID: z.string().optional(),
  ANALYTICS_API_TOKEN: z.string().optional(),
  ANALYTICS_SQL_ENDPOINT: z.url().default("https://api.cloudflare.com/client/v4"),
  SLACK_SIGNING_SECRET: SlackSecret,
  SLACK_SIGNING_SECRET_PREVIOUS: SlackSecret,
  SLACK_FOLLOW_EDITS: z.enum(["true", "false", ""]).default("false"),
  WEBHOOK_SECRET: WebhookSecrets,
  SUBSCRIPTION_SECRET: SealingSecrets,
  SUBSCRIPTION_LOCAL_RECEIVERS: z.enum(["true", "false", ""]).default("false"),
  OPEN_ACCESS: z.enum(["true", "false", ""]).default("false"),
  CORS_ORIGINS: Origins,
  API_KEYS: json("[]").pipe(ApiKeys),
  KAFKA_FIELD_MAPPING: json("{}").pipe(FieldMapping),
})

/**
 * Only `npm start` sets these: the addresses of what replaces Neon and Analytics Engine on a developer's
 * machine.
 */
const LOCAL_NAMES = ["DATABASE_HTTP_ENDPOINT", "ANALYTICS_SQL_ENDPOINT"] as const

export type SettingName = keyof z.input<typeof Variables>

/** The settings as a deployment gives them: `vars` and secrets are text. */
export type SettingTexts = { [Name in SettingName]?: string }

/** The settings that an operator or a developer can set. */
export const SETTING_NAMES: readonly SettingName[] = Variables.keyof().options.filter(
  (name) => !LOCAL_NAMES.includes(name as (typeof LOCAL_NAMES)[number]),
)

/** The settings as the service uses them. */
export type Settings = ReturnType<typeof group>

/** A setting is missing or wrong. The message names it and its rule, never its value. */
export class ConfigurationError extends LoggableError {}

const known = new WeakMap<SettingTexts, Settings>()

/**
 * Reads and checks the settings of a deployment, once for each isolate.
 *
 * @throws {ConfigurationError} a setting is missing or wrong
 */
export function readSettings(texts: SettingTexts): Settings {
  const read = known.get(texts)
  if (read) return read
  const result = Variables.safeParse(texts)
  if (!result.success) {
    const errors = result.error.issues.map(
      ({ path: [name, ...rest], message }) => `${[name, ...rest].join(".")}: ${message}`,
    )
    throw new ConfigurationError(`Wrong configuration. ${errors.join("; ")}`)
  }
  const settings = group(result.data)
  known.set(texts, settings)
  return settings
}

function group(values: z.infer<typeof Variables>) {
  return {
    database: {
      url: databaseUrl(values.DATABASE_URL),
      httpEndpoint: values.DATABASE_HTTP_ENDPOINT,
      deadlineMs: values.DATABASE_DEADLINE_MS,
      inFlight: {
        writes: values.DATABASE_MAX_WRITES,
        reads: values.DATABASE_MAX_READS,
        consumer: values.DATABASE_MAX_CONSUMER,
      },
    },
    limits: {
      maxSignals: values.MAX_SIGNALS,
      maxBodyBytes: values.MAX_BODY_BYTES,
      maxFutureSeconds: values.MAX_FUTURE_SECONDS,
    },
    /** The quotas of the two rate limiters, where the deployment names them. */
    rateLimits: { caller: values.RATE_LIMIT, address: values.ADDRESS_RATE_LIMIT },
    retention: {
      /** The days that a signal is kept after its arrival; undefined: forever. */
      signalDays: values.RETENTION_DAYS,
      /** The days that ledger rows without signals and settled dead letters are kept. */
      ledgerDays: values.LEDGER_RETENTION_DAYS ?? LEDGER_RETENTION_DAYS,
    },
    /** Undefined when metrics are not configured. */
    analytics: analyticsSettings(values),
    access: {
      open: values.OPEN_ACCESS === "true",
      keys: values.API_KEYS,
      /** The origins whose pages may call /api. */
      origins: values.CORS_ORIGINS,
    },
    webhooks: {
      /** Any of them may have signed a call. Without one, every call is refused. */
      slackSecrets: [values.SLACK_SIGNING_SECRET, values.SLACK_SIGNING_SECRET_PREVIOUS].filter(isSet),
      /** Whether edits and deletions in Slack change stored signals. */
      followSlackEdits: values.SLACK_FOLLOW_EDITS === "true",
      /** There are two during a rotation. */
      standardSecrets: values.WEBHOOK_SECRET,
      kafkaMapping: values.KAFKA_FIELD_MAPPING,
    },
    subscriptions: {
      /** What seals their secrets. Without one there are no subscriptions. */
      secrets: values.SUBSCRIPTION_SECRET,
      /** Whether a receiver may be on the same machine, without TLS. */
      allowLocal: values.SUBSCRIPTION_LOCAL_RECEIVERS === "true",
    },
  }
}

/** The prefix `whsec_` may be missing. */
function isWebhookSecret(secret: string): boolean {
  try {
    const { length } = atob(secret.replace(/^whsec_/, ""))
    return length >= 24 && length <= 64
  } catch {
    return false
  }
}

function isSet(text: string | undefined): text is string {
  return text !== undefined && text !== ""
}

function analyticsSettings(values: z.infer<typeof Variables>): AnalyticsSettings | undefined {
  const {
    CLOUDFLARE_ACCOUNT_ID: accountId,
    ANALYTICS_API_TOKEN: token,
    ANALYTICS_SQL_ENDPOINT: endpoint,
  } = values
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
