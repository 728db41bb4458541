import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib"
import { describe, expect, it } from "vitest"
import type { BatchAnswer } from "../../../src/signals/responses.ts"
import { countOf, freshConversation, send } from "../service.ts"

const post = (body: BodyInit, headers: Record<string, string>) =>
  send("/api/signals/batch", { method: "POST", body, headers })
const batchText = (conversation: string) => JSON.stringify({ signals: [{ context_window_id: conversation }] })
const bytes = (text: string) => new TextEncoder().encode(text)

describe("a batch's content type", () => {
  it.each([
    "application/json",
    "application/json; charset=utf-8",
    "APPLICATION/JSON",
    "application/x-www-form-urlencoded",
    "",
  ])("may be %j", async (type) => {
    const conversation = freshConversation()
    expect((await post(bytes(batchText(conversation)), type ? { "Content-Type": type } : {})).status).toBe(
      200,
    )
    expect(await countOf(conversation)).toBe(1)
  })

  it.each(["text/csv", "multipart/form-data", "application/xml"])("must not be %s", async (type) => {
    const response = await post(batchText(freshConversation()), { "Content-Type": type })
    expect(response.status).toBe(415)
    expect(await response.json()).toEqual({
      detail: `Content-Type ${type} is not read here. Send application/json or application/x-ndjson.`,
      code: "unsupported_media_type",
    })
  })
})

describe("a batch in NDJSON", () => {
  it("has one signal on each line; blank lines, CRLF and a missing last line end are allowed", async () => {
    const conversation = freshConversation()
    const line = JSON.stringify({ context_window_id: conversation })
    const response = await post(`${line}\r\n\n${line}\n${line}`, { "Content-Type": "application/x-ndjson" })
    expect(((await response.json()) as BatchAnswer).successful_count).toBe(3)
    expect(await countOf(conversation)).toBe(3)
  })

  it("names the line that is not JSON", async () => {
    const conversation = freshConversation()
    const response = await post(`{"context_window_id":"${conversation}"}\n{oops\n`, {
      "Content-Type": "application/x-ndjson",
    })
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({
      detail: [{ type: "json_invalid", loc: ["body", "signals", 1] }],
    })
    expect(await countOf(conversation)).toBe(0)
  })
})

describe("a batch's content encoding", () => {
  it("can be gzip, also in several members", async () => {
    const conversation = freshConversation()
    const [head, tail] = [batchText(conversation).slice(0, 9), batchText(conversation).slice(9)]
    const members = new Uint8Array([...gzipSync(head), ...gzipSync(tail)])
    expect((await post(members, { "Content-Encoding": "gzip" })).status).toBe(200)
    expect(await countOf(conversation)).toBe(1)
  })

  it("must match its header", async () => {
    const response = await post(bytes(batchText(freshConversation())), { "Content-Encoding": "gzip" })
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({ detail: [{ type: "gzip_invalid", loc: ["body"] }] })
  })

  it.each([
    ["zstd", zstdCompressSync],
    ["br", brotliCompressSync],
    ["deflate", deflateSync],
  ] as const)("may be %s, and the answer names all that are accepted", async (encoding, encode) => {
    const conversation = freshConversation()
    const response = await post(encode(batchText(conversation)), { "Content-Encoding": encoding })
    expect(response.status).toBe(200)
    expect(response.headers.get("Accept-Encoding")).toBe("zstd, gzip, br, deflate")
    expect(await countOf(conversation)).toBe(1)
  })

  it.each(["compress", "gzip, br", "gzip, gzip"])(
    "must not be %s, and the answer names what is accepted",
    async (encoding) => {
      const response = await post(bytes(batchText(freshConversation())), { "Content-Encoding": encoding })
      expect(response.status).toBe(415)
      expect(response.headers.get("Accept-Encoding")).toBe("zstd, gzip, br, deflate")
      expect(await response.json()).toEqual({
        detail: `Content-Encoding ${encoding} is not read here. Send one of zstd, gzip, br, deflate, or none.`,
        code: "unsupported_encoding",
      })
    },
  )
})

describe("a batch's limits", () => {
  it("count the decoded bytes, so that a small body cannot expand into a large one", async () => {
    const response = await post(gzipSync(" ".repeat(9 * 1024 * 1024)), { "Content-Encoding": "gzip" })
    expect(response.status).toBe(413)
    expect(await response.json()).toEqual({
      detail: "A body may hold at most 8388608 bytes, decoded (MAX_BODY_BYTES). Nothing was stored.",
      code: "body_too_large",
    })
  })

  it("apply to a body without a length", async () => {
    const chunk = bytes(" ".repeat(1024 * 1024))
    let sent = 0
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (sent++ < 9) controller.enqueue(chunk)
        else controller.close()
      },
    })
    expect((await post(body, { "Content-Type": "application/json" })).status).toBe(413)
  })

  it("allow 10,000 signals and no more", async () => {
    const conversation = freshConversation()
    const signals = Array.from({ length: 10_001 }, () => ({ context_window_id: conversation }))
    const tooMany = await post(JSON.stringify({ signals }), { "Content-Type": "application/json" })
    expect(tooMany.status).toBe(413)
    expect(await tooMany.json()).toEqual({
      detail: "A batch may hold at most 10000 signals (MAX_SIGNALS). Nothing was stored.",
      code: "too_many_signals",
    })
    expect(
      (await post(JSON.stringify({ signals: signals.slice(1) }), { "Content-Type": "application/json" }))
        .status,
    ).toBe(200)
    expect(await countOf(conversation)).toBe(10_000)
  })

  it("apply to lines as well", async () => {
    const response = await post("1\n".repeat(4_000_000), { "Content-Type": "application/x-ndjson" })
    expect(response.status).toBe(413)
  })

  it("refuse a signal of more than 1 MiB by itself", async () => {
    const conversation = freshConversation()
    const signals = [
      { context_window_id: conversation },
      { context_window_id: conversation, raw_content: "x".repeat(1024 * 1024) },
    ]
    const response = await post(JSON.stringify({ signals }), { "Content-Type": "application/json" })
    expect(await response.json()).toMatchObject({
      successful_count: 1,
      results: [{}, { error: "signal must not be larger than 1 MiB" }],
    })
  })
})
