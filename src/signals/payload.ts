import { MAX_PAYLOAD_DEPTH, textFault } from "./rules.ts"
import type { Signal } from "./schema.ts"

/** A payload ready to be stored: its JSON text, "" when the signal has none. */
export type EncodedPayload = { text: string; fault?: undefined } | { text?: undefined; fault: string }

/**
 * The JSON text of a signal's payload, every digit of its numbers kept, or the sentence that says why it can't be stored.
 *
 * The text holds no line break, since JSON escapes them (RFC 8259, section 7), so that payloads may be joined by line.
 */
export function encodePayload(payload: Signal["payload"]): EncodedPayload {
  if (payload == null) return { text: "" }
  // Depth comes first: JSON.stringify overflows the stack on what nests too deeply.
  if (isDeeperThan(payload, MAX_PAYLOAD_DEPTH)) return { fault: `payload must not nest deeper than ${MAX_PAYLOAD_DEPTH} levels` }
  const text = JSON.stringify(payload)
  // U+0000 and lone surrogates are always escaped, so a text without such an escape needs no walk.
  const fault = /\\u(?:0000|d[89a-f])/.test(text) ? textFaultWithin(payload) : undefined
  return fault ? { fault: `payload ${fault}` } : { text }
}

/** Whether a value of JSON nests deeper than `levels`; it looks no deeper than that. */
export function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null || JSON.isRawJSON(value)) return false
  if (levels === 0) return true
  if (Array.isArray(value)) return value.some((item) => isDeeperThan(item, levels - 1))
  for (const key in value) if (isDeeperThan((value as Record<string, unknown>)[key], levels - 1)) return true
  return false
}

function textFaultWithin(value: unknown): string | undefined {
  if (typeof value === "string") return textFault(value)
  if (typeof value !== "object" || value === null) return undefined
  for (const [key, item] of Object.entries(value)) {
    const fault = textFault(key) ?? textFaultWithin(item)
    if (fault) return fault
  }
}
