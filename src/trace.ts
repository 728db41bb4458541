/**
 * The trace of a request or a message, and its span.
 *
 * @see https://www.w3.org/TR/trace-context/
 */
export interface TraceContext {
  /** 32 lower-case hexadecimal digits, not all zero. */
  traceId: string
  /** 16 such digits: the span itself, or in a header the span of the sender. */
  spanId: string
  /** Only the bits that this version of the standard defines. */
  flags: number
}

/** A span of this service. */
export interface Span extends TraceContext {
  parentSpanId: string
}

/** Version ff and ids of zeros are invalid. Later versions may add fields after the flags. */
const TRACEPARENT = /^(?!ff)([\da-f]{2})-(?!0{32})([\da-f]{32})-(?!0{16})([\da-f]{16})-([\da-f]{2})(-.*)?$/

/** Bound of the header; no version needs so much. */
const MAX_CHARACTERS = 512

/** `sampled`, and `random` of level 2. A header of version 00 sets no other. */
const KNOWN_FLAGS = 0b11

/**
 * Reads the trace context of a `traceparent`; undefined for an invalid header, which the standard says to
 * ignore. From a later version it reads the fields that version 00 has.
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

/** Builds the `traceparent` (version 00) for calls and messages that a span causes. */
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
  return bytes.some((byte) => byte !== 0)
    ? Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")
    : newSpanId()
}

/** The fields of a log line, by the names of OpenTelemetry's log data model. Undefined without a span. */
export const spanForLog = (span: Span | undefined) =>
  span && {
    trace_id: span.traceId,
    span_id: span.spanId,
    parent_span_id: span.parentSpanId,
    trace_flags: span.flags.toString(16).padStart(2, "0"),
  }
