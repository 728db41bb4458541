import type { Signal, SignalRow } from "../../src/signals/schema.ts"
import { seededRandom } from "../../test/setup/random.ts"

/** The seed of all batches, so that two runs send the same bytes. */
export const SEED = 20_261_123

/**
 * Makes `count` signals of about 370 bytes of JSON: mostly short English messages with quotes, line breaks,
 * umlauts, CJK and emoji, mostly with a small payload, and without most optional fields. The same seed gives
 * the same signals.
 */
export function makeSignals(count: number, seed = SEED): Signal[] {
  const random = seededRandom(seed)
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T
  return Array.from({ length: count }, (): Signal => {
    const micros = String(Math.floor(random() * 1e6)).padStart(6, "0")
    const second = new Date(1_790_000_000_000 + Math.floor(random() * 2_592_000) * 1000)
      .toISOString()
      .slice(0, 19)
    return {
      context_window_id: `conv-${Math.floor(random() * 5000)}`,
      timestamp: `${second}.${micros}Z`,
      raw_content: text(pick, 20 + Math.floor(random() * 160)),
      signal_source: pick(SOURCES),
      signal_score: round(random()),
      ...(random() < 0.5 && { emotional_tone: round(random()) }),
      ...(random() < 0.02 && { escalate_flag: 1 }),
      agent_id: `agent-${Math.floor(random() * 20)}`,
      ...(random() < 0.5 && { user_id: `user-${Math.floor(random() * 1000)}` }),
      ...(random() < 0.8 && {
        payload: {
          channel: `C${Math.floor(random() * 1e6)}`,
          thread: Math.floor(random() * 1e9),
          tags: [pick(WORDS), pick(WORDS)],
          edited: random() < 0.1,
        },
      }),
    }
  })
}

const BATCHES = 4

/** Different batches, so that they do not all touch the same pages of an index. */
export function makeBatches(size: number): Signal[][] {
  return Array.from({ length: BATCHES }, (_, number) => makeSignals(size, SEED + number))
}

/** The rows that the service makes of signals. */
export function makeRows(signals: readonly Signal[]): SignalRow[] {
  return signals.map((signal, index) => ({
    index,
    contextWindowId: signal.context_window_id,
    time: String(signal.timestamp),
    rawContent: signal.raw_content ?? null,
    signalSource: signal.signal_source ?? "unknown",
    signalScore: signal.signal_score ?? 0.5,
    signalVector: null,
    emotionalTone: signal.emotional_tone ?? null,
    escalateFlag: signal.escalate_flag ?? 0,
    agentId: signal.agent_id ?? null,
    userId: signal.user_id ?? null,
    payload: signal.payload ? JSON.stringify(signal.payload) : "",
    relationshipContext: null,
    diagnosticNotes: null,
    dedupeKey: null,
  }))
}

const SOURCES = ["slack", "kafka", "api", "webhook", "manual"] as const

const WORDS = (
  "deploy rollback customer waiting since morning please review the queue latency is above budget again thanks everyone looks " +
  "good merge it after lunch invoice payment failed retry later könnte naïve façade 東京 発送 📦 😀"
).split(" ")

const BREAKS = [" ", " ", " ", " ", " ", " ", " ", " ", ", ", ". ", '" "', "\n", " \\ ", "'s "] as const

function text(pick: <T>(from: readonly T[]) => T, length: number): string {
  let words = pick(WORDS)
  while (words.length < length) words += pick(BREAKS) + pick(WORDS)
  return words
}

const round = (value: number) => Math.round(value * 1000) / 1000
