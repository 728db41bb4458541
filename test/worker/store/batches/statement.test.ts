import { getTableColumns, sql } from "drizzle-orm"
import { PgDialect } from "drizzle-orm/pg-core"
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { SignalRow } from "../../../../src/signals/schema.ts"
import { SIGNAL_COLUMNS, type SignalField } from "../../../../src/signals/schema.ts"
import { arrayOf, encodeColumns } from "../../../../src/store/batches/statement.ts"
import { signals } from "../../../../src/store/database/schema.ts"
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

/** What Postgres reads in one column of a batch. */
async function readBack(field: SignalField, rows: readonly SignalRow[]): Promise<unknown[]> {
  const column = SIGNAL_COLUMNS.find((one) => one.field === field)
  if (!column) throw new Error(`no column for ${field}`)
  const array = arrayOf(encodeColumns(rows)[field], column.type)
  const { sql: text, params } = new PgDialect().sqlToQuery(sql`select value from unnest(${array}) as value`)
  return (await query<{ value: unknown }>(text, params)).map(({ value }) => value)
}

const texts = (values: readonly (string | null)[]) => values.map((rawContent) => row({ rawContent }))

describe("the columns of a batch", () => {
  it("send a column without any value as an empty array", () =>
    expect(encodeColumns([row(), row()])).toMatchObject({
      rawContent: { form: "literal", text: "{}" },
      payload: { form: "lines", text: "" },
      signalScore: { form: "literal", text: "{0.5,0.5}" },
    }))

  it.each([
    ["an empty text, the text NULL and no text", ["", "NULL", null]],
    ["one empty text", [""]],
    ["empty texts", ["", ""]],
    ["texts with the character that joins them", ["a\u007fb", "c", null]],
    ["the text that stands for null", ["\u0080", "a", null]],
    ["a text that holds it", ["a\u0080", null]],
    ["quotes, backslashes, braces and commas", ['a"b', "c\\d", "{e,f}", null]],
  ])("keep %s apart", async (_, values) =>
    expect(await readBack("rawContent", texts(values))).toEqual(values),
  )

  it("join texts where that is unambiguous, and quote them where it is not", () => {
    expect(encodeColumns(texts(["a", null, "b"])).rawContent).toEqual({
      form: "joined",
      text: "a\u007f\u0080\u007fb",
    })
    expect(encodeColumns(texts(["a\u007f", null])).rawContent).toEqual({
      form: "literal",
      text: '{"a\u007f",NULL}',
    })
  })

  it("are read by Postgres as the texts they were, whatever they hold", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.option(
            fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("\u007f", "\u0080", "", "a\u0080")),
          ),
          {
            minLength: 1,
          },
        ),
        async (values) => {
          const kept = values.map((value) => value?.replaceAll("\0", "") ?? null)
          fc.pre(kept.some((value) => value !== null))
          expect(await readBack("rawContent", texts(kept))).toEqual(kept)
        },
      ),
    ))

  it("send numbers that Postgres reads as the doubles they were", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1 }),
        async (scores) => {
          const read = await readBack(
            "signalScore",
            scores.map((signalScore) => row({ signalScore })),
          )
          expect(read).toEqual(scores.map((score) => score + 0))
        },
      ),
    ))

  it("send payloads a line each, an empty line for none", async () => {
    const rows = [row({ payload: '{"a":"\\n"}' }), row(), row({ payload: "{}" })]
    expect(await readBack("payload", rows)).toEqual([{ a: "\n" }, null, {}])
  })
})
