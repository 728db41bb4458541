/**
 * Where a request or a message stands in a trace.
 *
 * @see https://www.w3.org/TR/trace-context/
 */
export interface TraceContext {
  /** 32 lower-case hexadecimal digits, not all zero. */
  traceId: string
  /** 16 of them: the work that is described, or that asked for it. */
  spanId: string
  /** The bits that this version of the standard knows. */
  flags: number
}

/** What this service does within a trace. */
export interface Span extends TraceContext {
  parentSpanId: string
}

/** Version ff and ids of zeros are invalid. What follows the flags is left to later versions. */
const TRACEPARENT = /^(?!ff)([\da-f]{2})-(?!0{32})([\da-f]{32})-(?!0{16})([\da-f]{16})-([\da-f]{2})(-.*)?$/

/** No version has so many. */
const MAX_CHARACTERS = 512

/** `sampled`, and `random` of level 2. A header of version 00 sets no other. */
const KNOWN_FLAGS = 0b11

/**
 * The trace context in a `traceparent`; undefined for one that is not valid, which is ignored as the standard asks. Of a later version
 * it reads the part that version 00 has.
 *
 * @see https://www.w3.org/TR/trace-context/#versioning-of-traceparent
 */
export function readTraceparent(header: unknown): TraceContext | undefined {
  if (typeof header !== "string" || header.length > MAX_CHARACTERS) return undefined
  const [, version, traceId, spanId, flags, more] = TRACEPARENT.exec(header) ?? []
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined
  if (version === "00" && more !== undefined) return undefined
  return { traceId, spanId, flags: Number.parseInt(flags, 16) & KNOWN_FLAGS }
}

/** The `traceparent` of version 00 for what a span causes. */
export const traceparentOf = ({ traceId, spanId, flags }: TraceContext): string =>
  `00-${traceId}-${spanId}-${flags.toString(16).padStart(2, "0")}`

/** A new span of the same trace. */
export const continueTrace = (caller: TraceContext): Span => ({
  ...caller,
  spanId: newSpanId(),
  parentSpanId: caller.spanId,
})

function newSpanId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8))
  // An id of zeros is invalid.
  return bytes.some((byte) => byte !== 0) ? Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("") : newSpanId()
}

/** The fields of a log line, by the names of OpenTelemetry's log data model; none without a span. */
export const spanForLog = (span: Span | undefined) =>
  span && {
    trace_id: span.traceId,
    span_id: span.spanId,
    parent_span_id: span.parentSpanId,
    trace_flags: span.flags.toString(16).padStart(2, "0"),
  }
