/** Where Analytics Engine is read. */
export interface AnalyticsSettings {
  accountId: string
  /** An API token with the permission Account Analytics Read. */
  token: string
  /** Cloudflare's API, or the stand-in of a developer's machine. */
  endpoint: string
}

/** The metrics can't be read now. The message is a sentence for the caller and names no secret. */
export class MetricsUnavailable extends Error {}

const DEADLINE_MS = 10_000

/**
 * Sends one query to the SQL API of Analytics Engine. 64-bit integers come as text, so every value is for `Number` to read.
 *
 * @throws {MetricsUnavailable} it is not configured, not reached in time, or refuses
 * @see https://developers.cloudflare.com/analytics/analytics-engine/sql-api/
 */
export async function queryAnalytics<Row>(settings: AnalyticsSettings | undefined, sql: string): Promise<Row[]> {
  if (!settings)
    throw new MetricsUnavailable("Metrics can't be read: CLOUDFLARE_ACCOUNT_ID and ANALYTICS_API_TOKEN are not both set.")
  const { endpoint, accountId, token } = settings
  const response = await fetch(`${endpoint}/accounts/${encodeURIComponent(accountId)}/analytics_engine/sql`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}` },
    body: sql,
    signal: AbortSignal.timeout(DEADLINE_MS),
  }).catch(() => undefined)
  if (!response) throw new MetricsUnavailable("Metrics can't be read right now: Analytics Engine did not answer.")
  if (!response.ok) {
    console.warn(
      JSON.stringify({ event: "analytics_refused", status: response.status, answer: (await textOf(response)).slice(0, 500) }),
    )
    throw new MetricsUnavailable(`Metrics can't be read right now: Analytics Engine answered ${response.status}.`)
  }
  const answer = await response.json<{ data?: Row[] }>().catch(() => undefined)
  if (!Array.isArray(answer?.data))
    throw new MetricsUnavailable("Metrics can't be read right now: Analytics Engine's answer is not the JSON it promises.")
  return answer.data
}

const textOf = (response: Response) => response.text().catch(() => "")
