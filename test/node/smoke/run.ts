import assert from "node:assert/strict"
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib"
import { startNeonEndpoint } from "../../../src/local/neon/endpoint.ts"
import { migrate } from "../../../src/local/postgres/migrate.ts"
import { startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"
import { buildBundle, runBundle } from "../../setup/workerd.ts"

/**
 * Runs the deployed bundle on bare workerd, where code from text and Node's APIs are no freer than in
 * production.
 */
const bundle = await buildBundle()
const postgres = await startTemporaryPostgres()
await migrate(postgres.url)
const endpoint = await startNeonEndpoint()
const service = await runBundle(bundle, {
  DATABASE_URL: postgres.url,
  DATABASE_HTTP_ENDPOINT: endpoint.url,
  OPEN_ACCESS: "true",
})

const request = async (
  method: string,
  path: string,
  body?: BodyInit,
  headers: Record<string, string> = {},
) => {
  const response = await fetch(service.address + path, {
    method,
    headers,
    ...(body !== undefined && { body }),
  })
  return { status: response.status, body: await response.json() }
}
const JSON_TYPE = { "Content-Type": "application/json" }

const CHECKS: Record<string, () => Promise<void>> = {
  async "is ready"() {
    assert.deepEqual(await request("GET", "/readyz"), { status: 200, body: { status: "ready" } })
  },
  async "stores the good signals of a batch and names the bad one"() {
    const signals = [
      { context_window_id: "smoke", timestamp: "2025-01-15T10:00:00+02:00" },
      { context_window_id: "smoke", signal_score: 2 },
    ]
    const { status, body } = await request(
      "POST",
      "/api/signals/batch",
      JSON.stringify({ signals }),
      JSON_TYPE,
    )
    assert.deepEqual(
      [status, body.successful_count, body.results[1].error],
      [200, 1, "signal_score must be between 0 and 1"],
    )
  },
  async "tells a wrong shape by the schema that was compiled at start"() {
    const { status, body } = await request("POST", "/api/signals/batch", '{"signals":[{}]}', JSON_TYPE)
    assert.deepEqual(
      [status, body.detail[0].type, body.detail[0].loc],
      [422, "missing", ["body", "signals", 0, "context_window_id"]],
    )
  },
  async "reads NDJSON in every coding"() {
    const lines = '{"context_window_id":"smoke"}\n{"context_window_id":"smoke"}\n'
    const bodies = {
      gzip: gzipSync(lines),
      deflate: deflateSync(lines),
      br: brotliCompressSync(lines),
      zstd: zstdCompressSync(lines),
    }
    for (const [encoding, body] of Object.entries(bodies)) {
      const headers = { "Content-Type": "application/x-ndjson", "Content-Encoding": encoding }
      assert.equal(
        (await request("POST", "/api/signals/batch", body, headers)).body.successful_count,
        2,
        encoding,
      )
    }
  },
  async "keeps every digit of a payload"() {
    const text = '{"context_window_id":"smoke","payload":{"big":12345678901234567890}}'
    const { status, body } = await request("POST", "/api/signals", text, JSON_TYPE)
    assert.equal(status, 201)
    assert.match(
      await (await fetch(`${service.address}/api/signals/${body.id}`)).text(),
      /"big":12345678901234567890/,
    )
  },
  async "replays a batch under its Idempotency-Key"() {
    const headers = { ...JSON_TYPE, "Idempotency-Key": "smoke-1" }
    const send = () =>
      request("POST", "/api/signals/batch", '{"signals":[{"context_window_id":"smoke"}]}', headers)
    assert.deepEqual(await send(), await send())
  },
  async "survives a row that only the database refuses"() {
    // One digit more than Postgres' numeric holds before the point.
    const number = "9".repeat(131_073)
    const text = `{"signals":[{"context_window_id":"smoke","payload":{"n":${number}}},{"context_window_id":"smoke"}]}`
    assert.equal((await request("POST", "/api/signals/batch", text, JSON_TYPE)).body.successful_count, 1)
  },
  async "lists and counts"() {
    assert.equal((await request("GET", "/api/signals?limit=2")).body.signals.length, 2)
    assert.equal((await request("GET", "/api/signals/stats")).body.stats[0].context_window_id, "smoke")
  },
}

let failed = 0
for (const [name, check] of Object.entries(CHECKS)) {
  try {
    await check()
    console.log(`ok    ${name}`)
  } catch (error) {
    failed++
    console.log(`FAIL  ${name}\n${(error as Error).message}`)
  }
}
if (failed > 0) console.log(`The service's log:\n${service.log.join("\n")}`)
await service.stop()
await endpoint.stop()
await postgres.stop()
await bundle.remove()
console.log(`${Object.keys(CHECKS).length - failed} passed, ${failed} failed`)
process.exitCode = failed > 0 ? 1 : 0
