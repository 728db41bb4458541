import parsePrometheus from "parse-prometheus-text-format"
import { Client } from "pg"
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest"
import { type LocalAnalytics, startAnalytics } from "../../../src/local/analytics/server.ts"
import { type Storage, startStorage } from "../../setup/rig.ts"
import { type RunningBundle, runBundle } from "../../setup/workerd.ts"

describe("the state of the service in GET /metrics", () => {
  let storage: Storage
  let analytics: LocalAnalytics
  const services: RunningBundle[] = []
  let client: Client

  beforeAll(async () => {
    storage = await startStorage()
    analytics = await startAnalytics({ databaseUrl: storage.postgres.url, datasets: [] })
    client = new Client({ connectionString: storage.postgres.url })
    await client.connect()
  })
  afterAll(async () => {
    await client?.end()
    await Promise.all(services.map((service) => service.stop()))
    await analytics?.stop()
    await storage?.stop()
  })

  /** A scrape of a service that has just started: readers share an answer for 10 seconds. */
  async function scrape(settings: Record<string, string> = {}) {
    const service = await runBundle(inject("bundle"), {
      ...storage.bindings,
      CLOUDFLARE_ACCOUNT_ID: "account",
      ANALYTICS_API_TOKEN: analytics.token,
      ANALYTICS_SQL_ENDPOINT: `${new URL(analytics.url).origin}/client/v4`,
      ...settings,
    })
    services.push(service)
    const response = await fetch(`${service.address}/metrics`)
    expect(response.status).toBe(200)
    const families = parsePrometheus(await response.text())
    const state = families.filter(({ name }) => name.startsWith("signal_ingest_"))
    return {
      service,
      counters: families.length - state.length,
      state: Object.fromEntries(
        state.flatMap(({ name, metrics }) =>
          metrics.map(({ value }) => [name.replace("signal_ingest_", ""), Number(value)]),
        ),
      ),
    }
  }

  const deadLetter = (state: string, age: string) =>
    client.query(
      `insert into dead_letters (created_at, transaction_id, index, source, caller, reason, record, code, replay_transaction_id, state)
       values (now() - $2::interval, gen_random_uuid(), 0, 'kafka', 'test', 'unreadable', '{}', 'unreadable_record', gen_random_uuid(), $1)`,
      [state, age],
    )

  it("says that nothing waits, and has no time of an oldest", async () => {
    expect((await scrape()).state).toEqual({
      sweep_runs_total: 0,
      scores_total: 0,
      ready: 1,
      dead_letters_waiting: 0,
      erasures_running: 0,
      feed_lag_seconds: 0,
    })
  })

  it("counts waiting dead letters alone, and has the time of the oldest", async () => {
    await deadLetter("discarded", "3 days")
    await deadLetter("waiting", "2 days")
    await deadLetter("waiting", "1 day")
    const { state } = await scrape()
    expect(state.dead_letters_waiting).toBe(2)
    const ageHours = Date.now() / 3_600_000 - (state.dead_letter_oldest_timestamp_seconds ?? 0) / 3600
    expect(Math.round(ageHours)).toBe(48)
  })

  it("counts erasures that are not done, and has the time of the oldest", async () => {
    await client.query(
      `insert into erasures (id, created_at, requested_by, kind, subject_hash, suppress, phase, subject)
       values (gen_random_uuid(), now() - interval '5 hours', 'test', 'user_id', gen_random_uuid(), false, 'wait', 'u'),
              (gen_random_uuid(), now() - interval '9 hours', 'test', 'user_id', gen_random_uuid(), false, 'done', null)`,
    )
    const { state } = await scrape()
    expect(state.erasures_running).toBe(1)
    const ageHours = Date.now() / 3_600_000 - (state.erasure_oldest_timestamp_seconds ?? 0) / 3600
    expect(Math.round(ageHours)).toBe(5)
  })

  it("counts dead letters up to 10,000", async () => {
    await client.query(
      `insert into dead_letters (transaction_id, index, source, caller, reason, record, code, replay_transaction_id)
       select gen_random_uuid(), 0, 'kafka', 'test', 'unreadable', '{}', 'unreadable_record', gen_random_uuid()
       from generate_series(1, 10050)`,
    )
    expect((await scrape()).state.dead_letters_waiting).toBe(10_000)
  })

  it("has the lag of the feed while a transaction is open", async () => {
    const open = new Client({ connectionString: storage.postgres.url })
    await open.connect()
    try {
      await open.query("begin")
      await open.query("select pg_current_xact_id()")
      const { service } = await scrape()
      const stored = await fetch(`${service.address}/api/signals/batch`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ signals: [{ context_window_id: "behind an open transaction" }] }),
      })
      expect(stored.status).toBe(200)
      expect((await scrape()).state.feed_lag_seconds).toBeGreaterThan(0)
    } finally {
      await open.end()
    }
  })

  it("is not ready without a database, and keeps the counters", async () => {
    const { state, counters } = await scrape({ DATABASE_HTTP_ENDPOINT: "http://127.0.0.1:9/sql" })
    expect(state).toEqual({ sweep_runs_total: 0, scores_total: 0, ready: 0 })
    expect(counters).toBeGreaterThan(5)
  })
})
