import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test"
import { afterEach, describe, expect, it, vi } from "vitest"
import { app } from "../../../src/app.ts"
import { messageText } from "../../../src/queue/messages.ts"
import { consume, delivery } from "../consumer/messages.ts"
import { bindings, countOf, freshConversation, postBatch } from "../service.ts"
import { ASYNC, postTo } from "./routes/queued.ts"

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
const SPAN = "00f067aa0ba902b7"
const TRACEPARENT = `00-${TRACE}-${SPAN}-01`

interface Line {
  event: string
  trace_id?: string
  span_id?: string
  parent_span_id?: string
  trace_flags?: string
  links?: string[]
  links_omitted?: number
}

afterEach(() => {
  vi.restoreAllMocks()
})

/** The lines of the log that `work` writes. */
async function linesOf(work: () => Promise<unknown>): Promise<Line[]> {
  const lines: Line[] = []
  const spy = vi.spyOn(console, "log").mockImplementation((line) => lines.push(JSON.parse(line)))
  await work()
  spy.mockRestore()
  return lines
}

const message = (traceparent: unknown, conversation = freshConversation()) =>
  messageText({
    version: 1,
    kind: "delivery",
    delivery: delivery([{ context_window_id: conversation }]),
    traceparent: traceparent as string,
  })

const traceOf = (index: number) => `00-${String(index + 1).padStart(32, "0")}-${SPAN}-00`

describe("a request that is part of a trace", () => {
  const lineOf = async (headers: Record<string, string>) => {
    const [line] = await linesOf(() =>
      postBatch({ signals: [{ context_window_id: freshConversation() }] }, headers),
    )
    return line
  }

  it("continues it in its log line with a new span", async () => {
    const line = await lineOf({ traceparent: TRACEPARENT, tracestate: "vendor=secret" })
    expect(line).toMatchObject({ trace_id: TRACE, parent_span_id: SPAN, trace_flags: "01" })
    expect(line?.span_id).toMatch(/^(?!0{16})[\da-f]{16}$/)
    expect(line?.span_id).not.toBe(SPAN)
    expect(JSON.stringify(line)).not.toContain("secret")
  })

  it.each([{}, { traceparent: "nonsense" }, { traceparent: TRACEPARENT.toUpperCase() }])(
    "is stored without a trace when its header is %j",
    async (headers) => {
      const line = await lineOf(headers as Record<string, string>)
      expect(line).toMatchObject({ status: 200 })
      expect(line).not.toHaveProperty("trace_id")
      expect(line).not.toHaveProperty("span_id")
    },
  )

  it("passes its trace to the consumer, in a message or with a claim check", async () => {
    const conversation = freshConversation()
    const sent: string[] = []
    const queue = { send: async (text: string) => void sent.push(text) } as unknown as Queue
    const context = createExecutionContext()
    const requests = await linesOf(async () => {
      const record = JSON.stringify({ context_window_id: conversation })
      const init = {
        method: "POST",
        body: record,
        headers: { "Content-Type": "application/json", traceparent: TRACEPARENT },
      }
      expect(
        (await app.request("/webhooks/kafka", init, { ...bindings, QUEUE: queue }, context)).status,
      ).toBe(200)
      await waitOnExecutionContext(context)
      const batch = await postTo(
        { signals: [{ context_window_id: conversation }] },
        { ...ASYNC, traceparent: TRACEPARENT },
      )
      expect(batch.response.status).toBe(202)
      sent.push(...batch.sent)
    })
    for (const [index, text] of sent.entries()) {
      const [line] = await linesOf(() => consume([text]))
      // The request's span is the parent of the run's.
      expect(line).toMatchObject({
        event: "consumed",
        trace_id: TRACE,
        parent_span_id: requests[index]?.span_id,
      })
      expect(line?.span_id).not.toBe(requests[index]?.span_id)
    }
    expect(await countOf(conversation)).toBe(2)
  })
})

describe("a run of the consumer", () => {
  const lineOf = async (bodies: string[]) =>
    (await linesOf(() => consume(bodies))).find(({ event }) => event === "consumed")

  it("links to the trace of each message, when the messages have several traces", async () => {
    const line = await lineOf([
      message(traceOf(0)),
      message(traceOf(1)),
      message(traceOf(0)),
      message(undefined),
    ])
    expect(line?.links).toEqual([traceOf(0), traceOf(1)])
    expect(line).not.toHaveProperty("trace_id")
    expect(line).not.toHaveProperty("links_omitted")
  })

  it("has at most 100 links, and the number of omitted ones", async () => {
    const line = await lineOf(Array.from({ length: 103 }, (_, index) => message(traceOf(index))))
    expect([line?.links?.length, line?.links_omitted]).toEqual([100, 3])
  })

  it("stores messages without a valid trace, and has no trace then", async () => {
    const conversation = freshConversation()
    const line = await lineOf([
      message("nonsense", conversation),
      message(7, conversation),
      message({}, conversation),
    ])
    for (const name of ["trace_id", "links"]) expect(line).not.toHaveProperty(name)
    expect(await countOf(conversation)).toBe(3)
  })
})
