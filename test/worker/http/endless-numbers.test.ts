import { describe, expect, it } from "vitest"
import type { BatchAnswer } from "../../../src/signals/responses.ts"
import { countOf, freshConversation, postBatch, postJson, send } from "../service.ts"

/** Fields with a JSON number that no double can hold, and the code with which each signal fails. */
const FIELDS = [
  ['"signal_score":1e400', "out_of_range"],
  ['"signal_score":-1e400', "out_of_range"],
  ['"emotional_tone":1e309', "out_of_range"],
  ['"escalate_flag":1e400', "out_of_range"],
  [`"escalate_flag":1${"0".repeat(400)}`, "out_of_range"],
  ['"timestamp":1e400', "out_of_range"],
  ['"timestamp":-1e400', "out_of_range"],
] as const

const signals = (conversation: string) =>
  [...FIELDS.map(([field]) => `,${field}`), ""].map(
    (field) => `{"context_window_id":"${conversation}"${field}}`,
  )

const CODES = FIELDS.map(([, code], index) => [index, code])
const codesOf = ({ results }: BatchAnswer) =>
  results.filter(({ success }) => !success).map((result) => [result.index, "code" in result && result.code])

describe("a number beyond a double", () => {
  it("fails its signal of a batch alone", async () => {
    const conversation = freshConversation()
    const response = await postBatch(`{"signals":[${signals(conversation)}]}`)
    expect(response.status).toBe(200)
    expect(codesOf(await response.json())).toEqual(CODES)
    expect(await countOf(conversation)).toBe(1)
  })

  it("fails its line of NDJSON alone", async () => {
    const conversation = freshConversation()
    const response = await send("/api/signals/batch", {
      method: "POST",
      headers: { "Content-Type": "application/x-ndjson" },
      body: signals(conversation).join("\n"),
    })
    expect(response.status).toBe(200)
    expect(codesOf(await response.json())).toEqual(CODES)
  })

  it("fails a batch that is all or nothing with the words of a rule", async () => {
    const conversation = freshConversation()
    const response = await postBatch(`{"signals":[${signals(conversation)}],"fail_on_error":true}`)
    const { errors } = await response.json<{ errors: { error: string }[] }>()
    expect([response.status, errors[0]?.error]).toEqual([400, "signal_score must be between 0 and 1"])
    expect(await countOf(conversation)).toBe(0)
  })

  it.each(FIELDS)("fails a single signal with %s by its rule", async (field) => {
    const response = await postJson("/api/signals", `{"context_window_id":"c",${field}}`)
    const { detail } = await response.json<{ detail: { type: string; msg: string }[] }>()
    expect([response.status, detail.map(({ type, msg }) => `${type}: ${msg}`)]).toEqual([
      422,
      [expect.stringMatching(/^value_error: .* must be /)],
    ])
  })
})
