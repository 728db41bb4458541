import { describe, expect, it } from "vitest"
import type { BatchAnswer, StoredSignal } from "../../../src/signals/responses.ts"
import { MAX_ID_CHARACTERS, MAX_SIGNAL_BYTES } from "../../../src/signals/rules.ts"
import { TEXT_FIELDS } from "../../../src/signals/schema.ts"
import { freshConversation, postBatch, postJson, send } from "../service.ts"

const read = async <T>(path: string) => (await (await send(path)).json()) as T

/** Characters of four bytes in UTF-8 that no compression makes shorter: an index stores them as they are. */
const random = (characters: number): string =>
  Array.from({ length: Math.ceil(characters / 16_384) }, (_, chunk) =>
    Array.from(
      crypto.getRandomValues(new Uint32Array(Math.min(16_384, characters - chunk * 16_384))),
      (value) => String.fromCodePoint(0x10000 + (value % 0xf0000)),
    ).join(""),
  ).join("")

const LONGEST: Partial<Record<(typeof TEXT_FIELDS)[number], number>> = {
  context_window_id: 255,
  signal_source: 255,
  dedupe_key: 255,
  user_id: MAX_ID_CHARACTERS,
  agent_id: MAX_ID_CHARACTERS,
}

/** As long as the signal may be, less a conversation and a source. */
const REST = Math.floor((MAX_SIGNAL_BYTES - 200) / 4)

describe("a signal whose text has as many characters as it may", () => {
  it.each(TEXT_FIELDS)("is stored and read back: %s", async (field) => {
    const signal = { context_window_id: freshConversation(), [field]: random(LONGEST[field] ?? REST) }
    const response = await postBatch({ signals: [signal] })
    const { results } = (await response.json()) as BatchAnswer
    expect(results).toEqual([{ index: 0, success: true, signal_id: expect.any(Number), error: null }])
    const stored = await read<Record<string, unknown>>(`/api/signals/${results[0]?.signal_id}`)
    expect(stored[field] === signal[field]).toBe(true)
  })

  it("is stored with all of them at once, and found by each filter", async () => {
    const signal = Object.fromEntries(
      Object.entries(LONGEST).map(([field, characters]) => [field, random(characters)]),
    )
    const { signal_id } = ((await (await postBatch({ signals: [signal] })).json()) as BatchAnswer)
      .results[0] as { signal_id: number }
    for (const field of ["context_window_id", "signal_source", "user_id"] as const) {
      const page = await read<{ signals: StoredSignal[] }>(
        `/api/signals?${new URLSearchParams({ [field]: signal[field] ?? "" })}`,
      )
      expect(page.signals.map(({ id }) => id)).toEqual([signal_id])
    }
  })

  it.each(["user_id", "agent_id"] as const)("of %s that is longer fails alone", async (field) => {
    const response = await postBatch({
      signals: [
        { context_window_id: freshConversation(), [field]: random(MAX_ID_CHARACTERS + 1) },
        { context_window_id: freshConversation() },
      ],
    })
    expect(((await response.json()) as BatchAnswer).results).toMatchObject([
      { success: false, code: "wrong_length", field },
      { success: true },
    ])
  })

  it("of a user_id can be erased", async () => {
    const user_id = random(MAX_ID_CHARACTERS)
    expect((await postJson("/api/erasures", { user_id })).status).toBe(202)
    expect((await postJson("/api/erasures", { user_id: `${user_id}x` })).status).toBe(422)
  })
})
