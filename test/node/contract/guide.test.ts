import { execFile } from "node:child_process"
import { promisify } from "node:util"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { has } from "../../setup/processes.ts"
import { type Rig, startRig } from "../../setup/rig.ts"

const run = promisify(execFile)

let rig: Rig

beforeAll(async () => {
  rig = await startRig()
})
afterAll(() => rig?.stop())

/** The guide's first call, as printed. */
const QUICK_START = String.raw`curl -X POST http://localhost:8002/api/signals/batch \
  -H "Content-Type: application/json" \
  -d '{
    "signals": [
      {
        "context_window_id": "conv-123",
        "raw_content": "Signal 1 content",
        "signal_source": "Slack",
        "signal_score": 0.85,
        "emotional_tone": 0.7
      },
      {
        "context_window_id": "conv-123",
        "raw_content": "Signal 2 content",
        "signal_source": "Axis",
        "signal_score": 0.72,
        "emotional_tone": 0.6
      }
    ],
    "fail_on_error": false
  }'`

describe.runIf(has("curl", "--version"))("the guide's calls with curl", () => {
  const inShell = async (command: string) => {
    const { stdout } = await run("sh", [
      "-c",
      command.replaceAll("http://localhost:8002", rig.service.address),
    ])
    return JSON.parse(stdout)
  }

  it("answer as the guide says", async () => {
    expect(await inShell(QUICK_START)).toEqual({
      total_count: 2,
      successful_count: 2,
      failed_count: 0,
      results: [0, 1].map((index) => ({ index, success: true, signal_id: expect.any(Number), error: null })),
      transaction_id: expect.any(String),
    })
  })

  it("work with curl's default content type", async () => {
    const answer = await inShell(
      `echo '{"signals": [{"context_window_id": "conv-123"}]}' | curl -X POST http://localhost:8002/api/signals/batch -d @-`,
    )
    expect(answer.successful_count).toBe(1)
  })
})

describe.runIf(has("python3", "-c", "import requests"))("the guide's Python snippets", () => {
  it("print the output of the guide", async () => {
    const { stdout } = await run(
      "python3",
      [new URL("guide.py", import.meta.url).pathname, rig.service.address],
      {
        env: { ...process.env, PYTHONIOENCODING: "utf-8" },
      },
    )
    expect(stdout.split("\n")).toEqual([
      "Created 100/100 signals",
      "\u2713 All metrics imported successfully",
      "\u2717 Import failed: Batch failed at index 1: signal_score must be between 0 and 1. No signals were created.",
      "Flushed 1 signals",
      "",
    ])
  })
})

describe("the guide's SQL queries", () => {
  beforeAll(async () => {
    const signals = [0.2, 0.4].map((signal_score) => ({
      context_window_id: "conv-sql",
      signal_score,
      signal_source: "Neo",
    }))
    await fetch(`${rig.service.address}/api/signals/batch`, {
      method: "POST",
      body: new TextEncoder().encode(JSON.stringify({ signals })),
    })
  })

  it("finds recently ingested signals", async () => {
    const rows = await rig.query(`
      SELECT
        id,
        context_window_id,
        signal_score,
        signal_source,
        time
      FROM signals
      WHERE time > now() - interval '1 hour'
      ORDER BY time DESC
      LIMIT 20;`)
    expect(rows).toContainEqual({
      id: expect.any(String),
      context_window_id: "conv-sql",
      signal_score: 0.4,
      signal_source: "Neo",
      time: expect.any(Date),
    })
  })

  it("checks batch statistics", async () => {
    const rows = await rig.query(`
      SELECT
        context_window_id,
        COUNT(*) as signal_count,
        AVG(signal_score) as avg_score,
        MAX(time) as latest_signal
      FROM signals
      WHERE time > now() - interval '1 day'
      GROUP BY context_window_id
      ORDER BY signal_count DESC;`)
    expect(rows).toContainEqual({
      context_window_id: "conv-sql",
      signal_count: "2",
      avg_score: expect.closeTo(0.3),
      latest_signal: expect.any(Date),
    })
  })
})
