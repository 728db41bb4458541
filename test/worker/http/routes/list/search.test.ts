import { beforeAll, describe, expect, it } from "vitest"
import { MAX_TESTED_BYTES, MAX_TRIED } from "../../../../../src/store/signals/search.ts"
import { freshConversation, postBatch, query, send } from "../../../service.ts"
import { list, listAll } from "./list.ts"

describe("a search for a text", () => {
  const context_window_id = freshConversation()
  const contents = [
    "Refund 50% of order_1",
    "refund 505 of order-1",
    "a\\b 'quoted' \"twice\"",
    "ÉCOLE Straße",
    "",
    null,
  ]

  beforeAll(async () => {
    const signals = contents.map((raw_content, n) => ({
      context_window_id,
      raw_content,
      timestamp: `2026-01-01T00:00:0${n}Z`,
      signal_score: n / 10,
    }))
    expect((await postBatch({ signals, fail_on_error: true })).status).toBe(200)
  })

  it.each<[q: string, found: number[]]>([
    ["REFUND", [1, 0]],
    ["50%", [0]],
    ["%", [0]],
    ["r_1", [0]],
    ["_", [0]],
    ["a\\b", [2]],
    ["\\", [2]],
    ["'quoted'", [2]],
    ['"', [2]],
    ["école", [3]],
    ["sTRASSE", []],
    ["STRAßE", [3]],
    [".*", []],
    [" ", [3, 2, 1, 0]],
    ["$1", []],
  ])("for %j finds the contents that have it", async (q, found) => {
    const expected = found.map((index) => contents[index])
    expect((await listAll({ context_window_id, q })).contents).toEqual(expected)
    expect((await listAll({ context_window_id, q, limit: 1 })).contents).toEqual(expected)
  })

  it("is combined with every other filter", async () => {
    expect((await listAll({ q: "refund", context_window_id, min_score: 0.1 })).contents).toEqual([
      contents[1],
    ])
    expect(
      (await listAll({ q: "refund", context_window_id, until: "2026-01-01T00:00:01Z" })).contents,
    ).toEqual([contents[0]])
    expect((await listAll({ q: "refund", context_window_id, user_id: "nobody" })).contents).toEqual([])
  })

  it.each([
    ["", "string_too_short"],
    ["x".repeat(201), "string_too_long"],
    ["\u0000", "value_error"],
  ])("refuses q=%j", async (q, type) => {
    const response = await send(`/api/signals?${new URLSearchParams({ q })}`)
    expect([response.status, await response.json()]).toEqual([
      422,
      { detail: [expect.objectContaining({ type, loc: ["query", "q"] })], code: "invalid_request" },
    ])
  })

  it("takes a text of 200 characters", async () => {
    expect((await listAll({ context_window_id, q: "x".repeat(200) })).contents).toEqual([])
  })
})

describe("a filter by a value of the payload", () => {
  const context_window_id = freshConversation()

  beforeAll(async () => {
    const payloads = {
      number: '{"v":1}',
      decimal: '{"v":1.0}',
      text: '{"v":"1"}',
      true: '{"v":true}',
      null: '{"v":null}',
      large: '{"v":12345678901234567890.12}',
      "large, another last digit": '{"v":12345678901234567890.13}',
      nested: '{"a":{"b":{"c":"x"}}}',
      array: '{"tags":["red","green",7],"list":[{"id":1},{"id":2}],"deep":[["red"]]}',
      "dotted key": '{"a.b":"x","c\\\\d":"y","e=f":"z","g%_\'\\"h":"w"}',
      digits: '{"list":{"0":"key"}}',
      "odd value": '{"v":"%_\\\\ \'\\" a=b"}',
      object: '{"v":{"w":1}}',
    }
    const signals = Object.entries(payloads).map(
      ([raw_content, payload], n) =>
        `{"context_window_id":"${context_window_id}","timestamp":"2026-01-01T00:00:${10 + n}Z","raw_content":"${raw_content}","payload":${payload}}`,
    )
    const body = `{"fail_on_error":true,"signals":[${signals}]}`
    const headers = { "Content-Type": "application/json" }
    expect((await send("/api/signals/batch", { method: "POST", body, headers })).status).toBe(200)
  })

  it.each<[name: string, value: string, found: string[]]>([
    ["payload.v", "1", ["text", "decimal", "number"]],
    ["payload.v", "1.0", ["decimal", "number"]],
    ["payload.v", "1e0", ["decimal", "number"]],
    ["payload.v", "01", []],
    ["payload.v", "true", ["true"]],
    ["payload.v", "True", []],
    ["payload.v", "null", ["null"]],
    ["payload.missing", "null", []],
    ["payload.v", "12345678901234567890.12", ["large"]],
    ["payload.v", "12345678901234567890", []],
    ["payload.v", "1e99999999", []],
    ["payload.v", '"1"', []],
    ["payload.v", "%", []],
    ["payload.v", "%_\\ '\" a=b", ["odd value"]],
    ["payload.v", '{"w":1}', []],
    ["payload.v", "", []],
    ["payload.a.b.c", "x", ["nested"]],
    ["payload.a.b", "x", []],
    ["payload.a\\.b", "x", ["dotted key"]],
    ["payload.c\\\\d", "y", ["dotted key"]],
    ["payload.c\\d", "y", ["dotted key"]],
    ["payload.e=f", "z", ["dotted key"]],
    ["payload.e\\=f", "z", ["dotted key"]],
    ["payload.g%_'\"h", "w", ["dotted key"]],
    ["payload.g%", "w", []],
    ["payload.tags", "red", ["array"]],
    ["payload.tags", "7", ["array"]],
    ["payload.tags", "re", []],
    ["payload.deep", "red", []],
    ["payload.tags.0", "red", ["array"]],
    ["payload.tags.1", "red", []],
    ["payload.tags.-1", "7", ["array"]],
    ["payload.tags.9", "red", []],
    ["payload.list.1.id", "2", ["array"]],
    ["payload.list.0", "key", ["digits"]],
    ["payload.list.id", "2", []],
  ])("%s=%s", async (name, value, found) => {
    expect((await listAll({ context_window_id, [name]: value })).contents).toEqual(found)
  })

  it("is combined with others, in the list and in the stream", async () => {
    const filter = { context_window_id, "payload.tags": "red", "payload.list.0.id": "1", q: "ARR" }
    expect((await listAll(filter)).contents).toEqual(["array"])
    expect((await listAll({ ...filter, "payload.list.1.id": "1" })).contents).toEqual([])
    const stream = await send(`/api/signals/export?${new URLSearchParams({ ...filter, format: "ndjson" })}`)
    expect((await stream.text()).match(/"raw_content":"\w+"/g)).toEqual(['"raw_content":"array"'])
  })

  it.each<[query: string, loc: string, words: string]>([
    ["payload.=1", "payload.", "empty"],
    ["payload.a..b=1", "payload.a..b", "empty"],
    ["payload.a.=1", "payload.a.", "empty"],
    ["payload.a.b.c.d.e.f.g.h.i=1", "payload.a.b.c.d.e.f.g.h.i", "at most 8 keys"],
    [`payload.${"k".repeat(513)}=1`, `payload.${"k".repeat(513)}`, "at most 512 characters"],
    [`payload.a=${"v".repeat(1025)}`, "payload.a", "at most 1024 characters"],
    ["payload.a=%00", "payload.a", "U+0000"],
    ["payload.a%00=1", "payload.a\u0000", "U+0000"],
    ["payload.a=1&payload.a=2", "payload.a", "once"],
    [[1, 2, 3, 4, 5, 6].map((n) => `payload.k${n}=1`).join("&"), "payload", "at most 5"],
  ])("refuses %.60s", async (query, loc, words) => {
    for (const path of ["/api/signals?", "/api/signals/export?format=csv&"]) {
      const response = await send(`${path}${query}`)
      expect([response.status, await response.json()]).toEqual([
        422,
        {
          detail: [expect.objectContaining({ loc: ["query", loc], msg: expect.stringContaining(words) })],
          code: "invalid_request",
        },
      ])
    }
  })

  it("takes five filters, paths of eight keys, and the longest path and value", async () => {
    const query = {
      context_window_id,
      "payload.a.b.c.d.e.f.g.h": "1",
      [`payload.${"k".repeat(512)}`]: "1",
      "payload.v": "v".repeat(1024),
      "payload.w": "1",
      "payload.x": "1",
    }
    expect((await listAll(query)).contents).toEqual([])
  })
})

describe("a search among long texts", () => {
  it("ends a page by the bytes that it tested, and its cursor continues until every signal was tested", async () => {
    const conversation = freshConversation()
    const BYTES = 512 * 1024
    const perPage = MAX_TESTED_BYTES / BYTES
    const count = 2 * perPage + 3
    await query(
      `insert into signals (time, transaction_id, context_window_id, signal_source, signal_score, escalate_flag, raw_content, payload)
       select '2001-01-01T00:00:00Z'::timestamptz + n * interval '1 second', gen_random_uuid(), $1::text, 's', 0.5, 0,
         case when n = 1 then 'needle' else repeat('x', $3::int4) end,
         -- Numbers do not compress.
         jsonb_build_object('n', n, 'text', (select string_agg(md5(random()::text), '') from generate_series(1, $3::int4 / 32) where n > 0))
       from generate_series(1, $2::int4) as n`,
      [conversation, count, BYTES],
    )
    const filter = { context_window_id: conversation, limit: 5 }
    expect(await listAll({ ...filter, q: "NEEDLE" })).toEqual({ pages: 3, contents: ["needle"] })
    expect((await list({ ...filter, q: "needle" })).signals).toEqual([])
    expect(await listAll({ ...filter, "payload.n": "1" })).toEqual({ pages: 3, contents: ["needle"] })
    // The bytes of what another filter leaves out do not count.
    const few = await listAll({ ...filter, q: "needle", user_id: "nobody" })
    expect(few).toEqual({ pages: 1, contents: [] })
  })

  it("tests a bounded number of signals for each page", async () => {
    const conversation = freshConversation()
    await query(
      `insert into signals (time, transaction_id, context_window_id, signal_source, signal_score, escalate_flag, raw_content)
       select '2001-01-01T00:00:00Z'::timestamptz + n * interval '1 second', gen_random_uuid(), $1::text, 's', 0.5, 0, 'text ' || n
       from generate_series(1, $2::int4) as n`,
      [conversation, 2 * MAX_TRIED],
    )
    const filter = { context_window_id: conversation, q: "TEXT 1", limit: 1000 }
    const found = await listAll(filter)
    expect(found.contents).toEqual([
      "text 10000",
      ...Array.from({ length: 1000 }, (_, n) => `text ${1999 - n}`),
      ...Array.from({ length: 100 }, (_, n) => `text ${199 - n}`),
      ...Array.from({ length: 10 }, (_, n) => `text ${19 - n}`),
      "text 1",
    ])
    expect(await listAll({ ...filter, q: "absent" })).toEqual({ pages: 3, contents: [] })
    const [last] = (await list({ ...filter, q: "absent" })).signals
    expect(last).toBeUndefined()
  })
})
