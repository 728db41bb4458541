import { afterAll, beforeAll, describe, expect, inject, it } from "vitest"
import { type LocalAnalytics, startAnalytics } from "../../../src/local/analytics/server.ts"
import type { MetricsAnswer } from "../../../src/metrics/answer.ts"
import { type FaultyProxy, startProxy } from "../../setup/proxy.ts"
import { type Storage, startStorage } from "../../setup/rig.ts"
import { type RunningBundle, runBundle } from "../../setup/workerd.ts"

const QUERIES_OF_A_WINDOW = 9
const QUERIES_OF_THE_COUNTERS = 2

const sha256 = async (text: string) =>
  Buffer.from(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))).toString("hex")

describe("the readers of the metrics", () => {
  let storage: Storage
  let analytics: LocalAnalytics
  let api: FaultyProxy
  let service: RunningBundle

  beforeAll(async () => {
    storage = await startStorage()
    // Without a dataset: it is that of a deployment that has had no request yet.
    analytics = await startAnalytics({ databaseUrl: storage.postgres.url, datasets: [] })
    api = await startProxy(new URL(analytics.url).origin)
    service = await runBundle(inject("bundle"), {
      ...storage.bindings,
      OPEN_ACCESS: "false",
      API_KEYS: JSON.stringify([
        { name: "dashboard", sha256: await sha256("read"), scopes: ["read"] },
        { name: "bridge", sha256: await sha256("ingest"), scopes: ["ingest"] },
      ]),
      CLOUDFLARE_ACCOUNT_ID: "account",
      ANALYTICS_API_TOKEN: analytics.token,
      ANALYTICS_SQL_ENDPOINT: `${api.address}/client/v4`,
    })
  })
  afterAll(async () => {
    await service?.stop()
    await api?.stop()
    await analytics?.stop()
    await storage?.stop()
  })

  const read = (path: string, key = "read") =>
    fetch(`${service.address}${path}`, { headers: { Authorization: `Bearer ${key}` } })
  const readers = async (path: string) => {
    const responses = await Promise.all(Array.from({ length: 50 }, () => read(path)))
    expect(new Set(responses.map(({ status }) => status))).toEqual(new Set([200]))
    return Promise.all(responses.map((response) => response.text()))
  }

  it("share one answer for each window: 50 readers cost as many queries as one", async () => {
    api.seen.length = 0
    const texts = await readers("/api/metrics?window=7d")
    expect(api.seen).toHaveLength(QUERIES_OF_A_WINDOW)
    expect(new Set([...texts, ...(await readers("/api/metrics?window=7d"))]).size).toBe(1)
    expect(api.seen).toHaveLength(QUERIES_OF_A_WINDOW)
    await readers("/metrics")
    expect(api.seen).toHaveLength(QUERIES_OF_A_WINDOW + QUERIES_OF_THE_COUNTERS)
  })

  it("see zeros while the dataset does not exist yet", async () => {
    const { totals, by_route, series } = (await (
      await read("/api/metrics?window=7d")
    ).json()) as MetricsAnswer
    expect(totals).toMatchObject({
      requests: 0,
      signals_created: 0,
      success_rate: null,
      error_rate: null,
      latency_ms: null,
    })
    expect([by_route.length, series.length]).toEqual([0, 85])
  })

  it("need the scope also for an answer that is already shared", async () => {
    const statuses = async (path: string) => [
      (await read(path)).status,
      (await read(path, "ingest")).status,
      (await read(path, "guess")).status,
    ]
    expect(await statuses("/api/metrics?window=7d")).toEqual([200, 403, 401])
    expect(await statuses("/metrics")).toEqual([200, 403, 401])
  })
})
