import type { BatchAnswer } from "./types.ts"

/**
 * The fields of each answer that the library uses. A success without them is not an answer of the service,
 * but a page of something in front of it.
 */
type Check = (json: unknown) => boolean

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)
const isText = (value: unknown): boolean => typeof value === "string"
const isTextOrNull = (value: unknown): boolean => value === null || typeof value === "string"
const isNull = (value: unknown): boolean => value === null
const isCount = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0
const isFlag = (value: unknown): boolean => typeof value === "boolean"
const isListOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check)
const has =
  (fields: Record<string, Check>): Check =>
  (json) =>
    isObject(json) && Object.entries(fields).every(([name, check]) => check(json[name]))

const isStored = has({ index: isCount, success: (success) => success === true, error: isNull })
const isFailure = has({
  index: isCount,
  success: (success) => success === false,
  error: isText,
  code: isText,
  retryable: isFlag,
})

/** The same of scores. */
export const isScoresAnswer = (count: number): Check => {
  const isBatch = isBatchAnswer(count)
  const hasWaiting = has({ waiting_count: isCount })
  return (json) => isBatch(json) && hasWaiting(json)
}

/**
 * The answer to a batch of `count` signals. Its counts account for each: one that it leaves out is not
 * stored.
 */
export const isBatchAnswer = (count: number): Check => {
  const isShape = has({
    total_count: (total) => total === count,
    successful_count: isCount,
    failed_count: isCount,
    results: isListOf((result) => isStored(result) || isFailure(result)),
  })
  return (json) => isShape(json) && addsUp(json as BatchAnswer)
}

function addsUp({ total_count, successful_count, failed_count, results }: BatchAnswer): boolean {
  const indexes = new Set(results.map(({ index }) => index))
  return (
    successful_count + failed_count === total_count &&
    indexes.size === results.length &&
    results.every(({ index }) => index < total_count) &&
    results.filter(({ success }) => !success).length === failed_count
  )
}

export const isStoredSignal: Check = has({ id: isCount, context_window_id: isText, transaction_id: isText })
export const isSignalPage: Check = has({ signals: isListOf(isObject), next_cursor: isTextOrNull })
export const isFeedPage: Check = has({
  signals: isListOf(isObject),
  next_cursor: isText,
  more: isFlag,
})
export const isStats: Check = has({ stats: isListOf(isObject) })
export const isBatchRecord: Check = has({ transaction_id: isText, state: isText })
export const isDeadLetterPage: Check = has({
  dead_letters: isListOf(has({ id: isCount })),
  next_cursor: isTextOrNull,
})
export const isDeadLetter: Check = has({ id: isCount, state: isText })
export const isReplay: Check = has({ replayed: isFlag })
export const isBulkReplay: Check = has({
  replayed_count: isCount,
  failed_count: isCount,
  failures: isListOf(isObject),
  next_cursor: isTextOrNull,
})
export const isErasure: Check = has({ id: isText, state: isText })
export const isSubscription: Check = has({ id: isText, name: isText, state: isText })
export const isSubscriptions: Check = has({ subscriptions: isListOf(isSubscription) })
export const isNewSubscription: Check = has({ id: isText, name: isText, secret: isText })
export const isNewSecret: Check = has({ secret: isText })
export const isAttempt: Check = has({ webhook_id: isText, ms: isCount })
export const isKey: Check = has({ id: isText, name: isText, state: isText })
export const isKeyPage: Check = has({ keys: isListOf(isKey), next_cursor: isTextOrNull })
export const isKeyUsage: Check = has({ name: isText, days: isListOf(has({ day: isText, signals: isCount })) })
export const isMadeKey: Check = has({ id: isText, name: isText, key: isText })
export const isAuditPage: Check = has({
  part: isText,
  checked: isCount,
  mismatch_count: isCount,
  mismatches: isListOf(isObject),
  next_cursor: isTextOrNull,
})
