import { getTableColumns } from "drizzle-orm"
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { SignalRow } from "../../../../src/signals/plan.ts"
import { signals } from "../../../../src/store/schema.ts"
import { encodeColumns } from "../../../../src/store/statement/columns.ts"
import { SIGNAL_COLUMNS } from "../../../../src/store/statement/signal-columns.ts"
import { query } from "../../service.ts"

const row = (fields: Partial<SignalRow> = {}): SignalRow => ({
  index: 0,
  contextWindowId: "a",
  time: "2025-01-15T10:00:00.000000Z",
  rawContent: null,
  signalSource: "unknown",
  signalScore: 0.5,
  signalVector: null,
  emotionalTone: null,
  escalateFlag: 0,
  agentId: null,
  userId: null,
  payload: "",
  relationshipContext: null,
  diagnosticNotes: null,
  dedupeKey: null,
  ...fields,
})

describe("the list of a signal's columns", () => {
  it("has every field of a row, and every column of the table but those that the service fills in", () => {
    const fields = SIGNAL_COLUMNS.map(({ field }) => field).sort()
    expect(fields).toEqual(
      Object.keys(row())
        .filter((name) => name !== "index")
        .sort(),
    )
    const { id, receivedAt, editedAt, transactionId, ...columns } = getTableColumns(signals)
    expect(fields).toEqual(Object.keys(columns).sort())
    for (const { field, column } of SIGNAL_COLUMNS) expect(columns[field].name).toBe(column)
  })
})

describe("the columns of a batch", () => {
  it("send a column without any value as an empty array", () =>
    expect(encodeColumns([row(), row()])).toMatchObject({ rawContent: "{}", payload: "", signalScore: "{0.5,0.5}" }))

  it("tell an empty text, the text NULL and no text apart", () =>
    expect(encodeColumns([row({ rawContent: "" }), row({ rawContent: "NULL" }), row()]).rawContent).toBe('{"","NULL",NULL}'))

  it("are read by Postgres as the texts they were, whatever they hold", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.option(fc.string({ unit: "binary" }).filter((text) => !text.includes("\0"))), { minLength: 1 }),
        async (texts) => {
          fc.pre(texts.some((text) => text !== null))
          const { rawContent } = encodeColumns(texts.map((text) => row({ rawContent: text })))
          expect(await query("select * from unnest($1::text[]) as text", [rawContent])).toEqual(texts.map((text) => ({ text })))
        },
      ),
    ))

  it("send numbers that Postgres reads as the doubles they were", () =>
    fc.assert(
      fc.asyncProperty(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1 }), async (scores) => {
        const { signalScore } = encodeColumns(scores.map((score) => row({ signalScore: score })))
        expect(await query("select * from unnest($1::float8[]) as score", [signalScore])).toEqual(
          scores.map((score) => ({ score: score + 0 })),
        )
      }),
    ))

  it("send payloads a line each, an empty line for none", async () => {
    const { payload } = encodeColumns([row({ payload: '{"a":"\\n"}' }), row(), row({ payload: "{}" })])
    expect(await query("select * from unnest(string_to_array($1, E'\\n', '')::jsonb[]) as payload", [payload])).toEqual([
      { payload: { a: "\n" } },
      { payload: null },
      { payload: {} },
    ])
  })
})
