import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { continueTrace, readTraceparent, spanForLog, traceparentOf } from "../../src/trace.ts"

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
const SPAN = "00f067aa0ba902b7"

const digits = (length: number) =>
  fc
    .array(fc.constantFrom(..."0123456789abcdef"), { minLength: length, maxLength: length })
    .map((all) => all.join(""))
const id = (length: number) => digits(length).filter((text) => !/^0+$/.test(text))

describe("a traceparent of version 00", () => {
  it("is read with any ids and flags, and keeps the known flags", () =>
    fc.assert(
      fc.property(id(32), id(16), digits(2), (traceId, spanId, flags) => {
        const known = Number.parseInt(flags, 16) & 3
        const context = readTraceparent(`00-${traceId}-${spanId}-${flags}`)
        expect(context).toEqual({ traceId, spanId, flags: known })
        if (context) expect(readTraceparent(traceparentOf(context))).toEqual(context)
      }),
    ))

  it.each([
    ["an upper-case trace id", `00-${TRACE.toUpperCase()}-${SPAN}-01`],
    ["an upper-case span id", `00-${TRACE}-${SPAN.toUpperCase()}-01`],
    ["upper-case flags", `00-${TRACE}-${SPAN}-0A`],
    ["a trace id of zeros", `00-${"0".repeat(32)}-${SPAN}-01`],
    ["a span id of zeros", `00-${TRACE}-${"0".repeat(16)}-01`],
    ["a short trace id", `00-${TRACE.slice(1)}-${SPAN}-01`],
    ["a long span id", `00-${TRACE}-${SPAN}0-01`],
    ["no flags", `00-${TRACE}-${SPAN}`],
    ["flags of one digit", `00-${TRACE}-${SPAN}-1`],
    ["more after the flags", `00-${TRACE}-${SPAN}-01-more`],
    ["a hyphen at the end", `00-${TRACE}-${SPAN}-01-`],
    ["two of them", `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`],
    ["a line break", `00-${TRACE}-${SPAN}-01\n`],
    ["digits of another script", `00-${TRACE}-${SPAN}-٠١`],
    ["no hexadecimal digit", `00-${TRACE.replace("4", "g")}-${SPAN}-01`],
    ["nothing", ""],
    ["no text", undefined],
  ])("is ignored with %s", (_, header) => expect(readTraceparent(header)).toBeUndefined())
})

describe("a traceparent of another version", () => {
  it("ff is ignored", () => {
    expect(readTraceparent(`ff-${TRACE}-${SPAN}-01`)).toBeUndefined()
    expect(readTraceparent(`ff-${TRACE}-${SPAN}-01-more`)).toBeUndefined()
  })

  it("is read as far as version 00 goes, where a hyphen follows or nothing", () =>
    fc.assert(
      fc.property(
        digits(2).filter((version) => version !== "00" && version !== "ff"),
        fc.string({ maxLength: 100 }).filter((text) => !/[\r\n\u2028\u2029]/.test(text)),
        (version, more) => {
          const expected = { traceId: TRACE, spanId: SPAN, flags: 1 }
          expect(readTraceparent(`${version}-${TRACE}-${SPAN}-01`)).toEqual(expected)
          expect(readTraceparent(`${version}-${TRACE}-${SPAN}-01-${more}`)).toEqual(expected)
          if (more !== "" && !more.startsWith("-"))
            expect(readTraceparent(`${version}-${TRACE}-${SPAN}-01${more}`)).toBeUndefined()
        },
      ),
    ))

  it("is ignored beyond 512 characters", () => {
    const start = `01-${TRACE}-${SPAN}-01-`
    expect(readTraceparent(start.padEnd(512, "x"))).toBeDefined()
    expect(readTraceparent(start.padEnd(513, "x"))).toBeUndefined()
  })
})

it("any text is a valid traceparent or ignored, and a valid one is forwarded as version 00", () =>
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(..."0123456789abcdef-fF g"), maxLength: 80 }), (text) => {
      const context = readTraceparent(text)
      if (context) expect(traceparentOf(context)).toMatch(/^00-[\da-f]{32}-[\da-f]{16}-0[0-3]$/)
    }),
  ))

it("a trace continues under the same id, with a new span each time", () => {
  const caller = { traceId: TRACE, spanId: SPAN, flags: 1 }
  const spans = Array.from({ length: 100 }, () => continueTrace(caller))
  expect(new Set(spans.map(({ spanId }) => spanId)).size).toBe(100)
  for (const span of spans) {
    expect(readTraceparent(traceparentOf(span))).toEqual({ traceId: TRACE, spanId: span.spanId, flags: 1 })
    expect(spanForLog(span)).toEqual({
      trace_id: TRACE,
      span_id: span.spanId,
      parent_span_id: SPAN,
      trace_flags: "01",
    })
  }
})
