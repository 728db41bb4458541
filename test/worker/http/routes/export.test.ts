import { beforeAll, describe, expect, it } from "vitest"
import { MAX_STREAMS, STREAM_PAGE } from "../../../../src/http/request/bounds.ts"
import { CSV_HEADER } from "../../../../src/signals/lines.ts"
import type { StoredSignal } from "../../../../src/signals/responses.ts"
import { freshConversation, postBatch, query, send } from "../../service.ts"

const paramsOf = (filter: Record<string, string | number>) =>
  new URLSearchParams(Object.entries(filter).map(([name, value]) => [name, `${value}`]))

const list = (filter: Record<string, string | number>) => send(`/api/signals?${paramsOf(filter)}`)

const exported = (
  filter: Record<string, string | number>,
  format: "ndjson" | "csv" = "ndjson",
  init: RequestInit = {},
) => send(`/api/signals/export?${paramsOf({ ...filter, format })}`, init)

const linesOf = async (response: Response): Promise<StoredSignal[]> =>
  (await response.text())
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as StoredSignal)

describe("an export as NDJSON or CSV", () => {
  const context_window_id = freshConversation()
  const at = (microsecond: number) => `2026-01-01T00:00:00.00000${microsecond}Z`

  beforeAll(async () => {
    const signals = [
      { raw_content: "0", payload: JSON.parse('{"a": 1}') },
      { raw_content: "", agent_id: 'line\nbreak "quoted", comma', signal_score: 0.1 },
      {
        raw_content: "2\u0001\u001f\u2028😀",
        user_id: "u",
        escalate_flag: 1,
        dedupe_key: crypto.randomUUID(),
      },
      { raw_content: null, emotional_tone: 0.30000000000000004, signal_source: "é" },
    ].map((signal, index) => ({ context_window_id, timestamp: at(index), ...signal }))
    expect((await postBatch({ signals, fail_on_error: true })).status).toBe(200)
    await query(
      `update signals set payload = '{"n": 12345678901234567890.10, "e": 1e-30, "t": "\\u0001\\n"}' where context_window_id = $1 and raw_content = '0'`,
      [context_window_id],
    )
  })

  it("has the same objects as the pages, in the same order", async () => {
    const pages = (await (await list({ context_window_id })).json()) as {
      signals: StoredSignal[]
    }
    const response = await exported({ context_window_id })
    expect([
      response.status,
      response.headers.get("Content-Type"),
      response.headers.get("Cache-Control"),
    ]).toEqual([200, "application/x-ndjson", "no-store"])
    expect(await linesOf(response)).toEqual(pages.signals)
    expect(pages.signals.map(({ time }) => time)).toEqual([at(3), at(2), at(1), at(0)])
  })

  it("keeps every digit of a payload", async () => {
    const text = await (await exported({ context_window_id, until: at(1) })).text()
    expect(text).toContain('"n": 12345678901234567890.10')
    expect(text).toContain(`"e": 0.${"0".repeat(29)}1`)
  })

  it("has rows of CSV with a header, and distinguishes null from an empty text", async () => {
    const response = await exported({ context_window_id, since: at(1), until: at(2) }, "csv")
    expect(response.headers.get("Content-Type")).toBe("text/csv; charset=utf-8; header=present")
    const text = await response.text()
    expect(text.startsWith(CSV_HEADER)).toBe(true)
    const [id, time] = text.slice(CSV_HEADER.length).split(",")
    expect([Number(id), time]).toEqual([expect.any(Number), at(1)])
    expect(text.slice(CSV_HEADER.length).split(",").slice(5).join(",")).toBe(
      `${context_window_id},"",unknown,0.1,,,0,"line\nbreak ""quoted"", comma",,,,,,\r\n`,
    )
  })

  it("has only a header of CSV, and no line of NDJSON, when no signal matches", async () => {
    const nobody = { context_window_id, user_id: "nobody" }
    expect(await (await exported(nobody, "csv")).text()).toBe(CSV_HEADER)
    expect(await (await exported(nobody)).text()).toBe("")
  })

  it.each<[string, Record<string, string | number>, number[]]>([
    ["since, which is included, and until, which is not", { since: at(1), until: at(3) }, [2, 1]],
    ["a user", { user_id: "u" }, [2]],
    ["a source", { signal_source: "é" }, [3]],
    ["scores", { max_score: 0.1 }, [1]],
    ["escalation", { escalate_flag: 1 }, [2]],
    ["an agent", { agent_id: 'line\nbreak "quoted", comma' }, [1]],
    ["limit", { limit: 3 }, [3, 2, 1]],
  ])("takes the filters of the list: %s", async (_, filter, indexes) => {
    const signals = await linesOf(await exported({ context_window_id, ...filter }))
    expect(signals.map(({ time }) => time)).toEqual(indexes.map(at))
  })

  it("continues after a cursor, and after the time and id of a signal", async () => {
    const page = (await (await list({ context_window_id, limit: 2 })).json()) as {
      signals: StoredSignal[]
      next_cursor: string
    }
    const last = page.signals.at(-1)
    for (const cursor of [page.next_cursor, `${last?.time},${last?.id}`]) {
      const signals = await linesOf(await exported({ context_window_id, cursor }))
      expect(signals.map(({ time }) => time)).toEqual([at(1), at(0)])
    }
    expect((await exported({ cursor: "yesterday,1" })).status).toBe(422)
  })

  it("needs a known format, and the scope of every read", async () => {
    for (const format of ["", "&format=json", "&format=parquet", "&format=ndjson&format=csv"])
      expect((await send(`/api/signals/export?context_window_id=${context_window_id}${format}`)).status).toBe(
        422,
      )
  })

  it("does not change the list, which is JSON whatever a caller accepts", async () => {
    for (const accept of ["text/csv", "application/x-ndjson", "*/*"]) {
      const response = await send(`/api/signals?limit=1`, { headers: { Accept: accept } })
      expect([response.status, response.headers.get("Content-Type")]).toEqual([200, "application/json"])
      expect(response.headers.get("Vary") ?? "").not.toContain("Accept")
    }
  })

  it("refuses a limit out of its range, and a parameter given twice", async () => {
    for (const [limit, status] of [
      [0, 422],
      [1001, 200],
      [1_000_000, 200],
      [1_000_001, 422],
    ] as const) {
      const response = await exported({ context_window_id, limit })
      expect([limit, response.status]).toEqual([limit, status])
      await response.text()
    }
    expect((await list({ context_window_id, limit: 1001 })).status).toBe(422)
    expect((await send("/api/signals/export?format=csv&limit=1&limit=2")).status).toBe(422)
  })

  it("answers HEAD with only the headers, and takes no slot", async () => {
    for (let call = 0; call <= MAX_STREAMS; call++) {
      const response = await exported({ context_window_id }, "ndjson", { method: "HEAD" })
      expect([response.status, response.headers.get("Content-Type"), await response.text()]).toEqual([
        200,
        "application/x-ndjson",
        "",
      ])
    }
  })

  it("refuses a stream above its bound, with Retry-After, until a reader has left", async () => {
    const open = await Promise.all(Array.from({ length: MAX_STREAMS }, () => exported({ context_window_id })))
    const refused = await exported({ context_window_id })
    expect([refused.status, refused.headers.get("Retry-After"), await refused.json()]).toEqual([
      503,
      "5",
      expect.objectContaining({
        code: "overloaded",
        detail: expect.stringContaining("stream signals at once"),
      }),
    ])
    expect((await list({ context_window_id, limit: 1 })).status).toBe(200)
    await open[0]?.body?.cancel()
    const next = await exported({ context_window_id })
    expect([next.status, (await linesOf(next)).length]).toEqual([200, 4])
    for (const response of open.slice(1)) await response.text()
  })
})

describe("a list of several pages", () => {
  it("is streamed to its end, each signal once, newest first", async () => {
    const context_window_id = freshConversation()
    const size = 8000
    for (let batch = 0; batch < 2; batch++) {
      const signals = Array.from({ length: size }, (_, index) => ({
        context_window_id,
        raw_content: String(index),
        // Many have the same time.
        timestamp: 1_700_000_000 + Math.floor(index / 100),
      }))
      expect((await postBatch({ signals }, { Prefer: "return=minimal" })).status).toBe(200)
    }
    const signals = await linesOf(await exported({ context_window_id }))
    expect(signals.length).toBeGreaterThan(3 * STREAM_PAGE.signals)
    expect([signals.length, new Set(signals.map(({ id }) => id)).size]).toEqual([2 * size, 2 * size])
    const order = signals.map(({ time, id }) => `${time} ${String(id).padStart(16, "0")}`)
    expect(order).toEqual(order.toSorted().reverse())
  })
})
