import { LoggableError } from "../errors.ts"
import { DATASET } from "./points.ts"

/** Address and credentials of Analytics Engine. */
export interface AnalyticsSettings {
  accountId: string
  /** An API token with the permission Account Analytics Read. */
  token: string
  /** Cloudflare's API, or the local stand-in. */
  endpoint: string
}

/** The metrics cannot be read now. The message is for the caller and contains no secret. */
export class MetricsUnavailable extends LoggableError {}

const DEADLINE_MS = 10_000

/**
 * Whether an answer says that the dataset does not exist: its first data point creates it. The message is not
 * documented.
 */
const saysNoDataset = (status: number, answer: string) =>
  status < 500 && answer.includes(DATASET) && /exist|unknown|not know|not found/i.test(answer)

/**
 * Sends one query to the SQL API of Analytics Engine. Integers of 64 bits arrive as text, so read every value
 * with `Number`. A dataset without points has no rows.
 *
 * @throws {MetricsUnavailable} it is not configured, does not answer in time, or refuses
 * @see https://developers.cloudflare.com/analytics/analytics-engine/sql-api/
 */
export async function queryAnalytics<Row>(
  settings: AnalyticsSettings | undefined,
  sql: string,
): Promise<Row[]> {
  if (!settings)
    throw new MetricsUnavailable(
      "Metrics can't be read: CLOUDFLARE_ACCOUNT_ID and ANALYTICS_API_TOKEN are not both set.",
    )
  const { endpoint, accountId, token } = settings
  const response = await fetch(`${endpoint}/accounts/${encodeURIComponent(accountId)}/analytics_engine/sql`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}` },
    // Without FORMAT the API can answer with one JSON value on each line.
    body: `${sql} FORMAT JSON`,
    signal: AbortSignal.timeout(DEADLINE_MS),
  }).catch(() => undefined)
  if (!response)
    throw new MetricsUnavailable("Metrics can't be read right now: Analytics Engine did not answer.")
  if (!response.ok) {
    const answer = (await response.text().catch(() => "")).slice(0, 500)
    console.warn(JSON.stringify({ event: "analytics_refused", status: response.status, answer }))
    if (saysNoDataset(response.status, answer)) return []
    throw new MetricsUnavailable(
      `Metrics can't be read right now: Analytics Engine answered ${response.status}.`,
    )
  }
  const answer = (await response.json().catch(() => undefined)) as { data?: Row[] } | undefined
  if (!Array.isArray(answer?.data))
    throw new MetricsUnavailable(
      "Metrics can't be read right now: Analytics Engine's answer is not the JSON it promises.",
    )
  return answer.data
}
