import fc from "fast-check"

/** One of these, as often as its weight says. */
const often = <T>(...weighted: [number, fc.Arbitrary<T>][]) =>
  fc.oneof(...weighted.map(([weight, arbitrary]) => ({ weight, arbitrary })))

/** Names that mean something to a runtime, beside those that mean something to the service. */
const NAMES = [
  ..."__proto__ constructor prototype toString valueOf toJSON then length hasOwnProperty".split(" "),
  ..."signals fail_on_error context_window_id timestamp raw_content signal_score payload dedupe_key user_id".split(
    " ",
  ),
  ..."records value key name headers topic partition offset specversion type source data data_base64 schema before after op".split(
    " ",
  ),
  ..."event message channel ts subtype edited team_id _error _line rawJSON".split(" "),
  "",
  "\0",
  "a.b",
  "\ud800",
  "n".repeat(300),
]

/** Texts that have broken a parser, a database, a terminal or a log somewhere. */
const TEXTS = [
  ...NAMES,
  " ",
  "\t\r\n",
  "\uFEFF",
  "\0middle\0",
  "\udfff\ud800",
  "a\u202Eb\u2028\u2029",
  "\u001b[2J",
  "null",
  "[]",
  "{}",
  "9".repeat(400),
  "1e400",
  "-0",
  "NaN",
  "2025-01-15T09:30:00Z",
  "9999-12-31T23:59:59.999999Z",
  "0001-01-01T00:00:00+23:59",
  "1355517523.000005",
  "'; drop table signals; --",
  "$1",
  "%00%ff%",
  '\\"\\\\',
  "\\u0000",
  "slack:T1/C1/1.1",
  "\u{1F600}".repeat(256),
  "a".repeat(255),
  "a".repeat(256),
  "AAAA",
  "AAAAAAA=",
  "[".repeat(3000),
]

export const text: fc.Arbitrary<string> = often(
  [4, fc.constantFrom(...TEXTS)],
  [3, fc.string({ unit: "binary", maxLength: 20 })],
  [2, fc.string({ maxLength: 40 })],
  [1, fc.tuple(fc.constantFrom(...TEXTS), fc.constantFrom(...TEXTS)).map(([one, other]) => one + other)],
)

export const name: fc.Arbitrary<string> = often([6, fc.constantFrom(...NAMES)], [1, text])

/** Numbers as they are written, at and beyond every limit. */
export const numberText: fc.Arbitrary<string> = often(
  [
    5,
    fc.constantFrom(
      ..."0 -0 1 0.5 -1 2 1.0 1E5 1e-7 0.1 255 256 1e16 9007199254740991 9007199254740993 12345678901234567890".split(
        " ",
      ),
      ..."0.12345678901234567890 1e400 -1e400 1e-400 5e-324 1.7976931348623157e308 1e131071 1e131072 1e-16383".split(
        " ",
      ),
      ..."1e999999999999 1e-999999999999 0e99999 1736933400 1736933400000 2e10 20000000001 253402300800 -62135596801".split(
        " ",
      ),
      "9".repeat(400),
      `0.${"3".repeat(400)}`,
      `1${"0".repeat(1100)}`,
    ),
  ],
  [2, fc.double({ noNaN: true, noDefaultInfinity: true }).map(String)],
  [2, fc.integer().map(String)],
)

const stringText = text.map((value) => JSON.stringify(value))

/** A value within as many arrays or objects. */
const nested = fc
  .tuple(
    fc.constantFrom(2, 63, 64, 65, 999, 1000, 1001, 6000),
    fc.constantFrom(["[", "]"], ['{"a":', "}"], ['{"payload":', "}"]),
  )
  .map(([levels, [open = "", close = ""]]) => `${open.repeat(levels)}1${close.repeat(levels)}`)

const wide = fc
  .tuple(fc.constantFrom(20, 200, 3000), fc.constantFrom("0", "{}", "[]", '""', "1e99", '{"a":1}'))
  .map(([count, item]) => `[${Array(count).fill(item).join()}]`)

/** An object from pairs, of which a name may come twice. */
const objectText = (pairs: readonly (readonly [string, string])[]) =>
  `{${pairs.map(([key, value]) => `${JSON.stringify(key)}:${value}`).join()}}`

/**
 * Any JSON text, much of it hostile: no value of JavaScript could hold its numbers, its depth and its double
 * names.
 */
export const jsonText: fc.Arbitrary<string> = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    { weight: 3, arbitrary: fc.constantFrom("null", "true", "false", '""', "[]", "{}") },
    { weight: 4, arbitrary: stringText },
    { weight: 4, arbitrary: numberText },
    { weight: 2, arbitrary: fc.array(tie("value"), { maxLength: 4 }).map((items) => `[${items.join()}]`) },
    { weight: 4, arbitrary: fc.array(fc.tuple(name, tie("value")), { maxLength: 4 }).map(objectText) },
    { weight: 1, arbitrary: nested },
    { weight: 1, arbitrary: wide },
  ),
})).value

/** JSON text of good values, here and there replaced by any. */
export const mostly = (...good: fc.Arbitrary<string>[]): fc.Arbitrary<string> =>
  fc.oneof({ weight: 5, arbitrary: fc.oneof(...good) }, { weight: 1, arbitrary: jsonText })

export const json = (...values: unknown[]): fc.Arbitrary<string> =>
  fc.constantFrom(...values.map((value) => JSON.stringify(value)))

/**
 * JSON text of an object with these fields: each of `required` nearly always, each of `optional` in half of
 * the objects, and now and then further names, or one twice.
 */
export function shaped(
  required: Record<string, fc.Arbitrary<string>>,
  optional: Record<string, fc.Arbitrary<string>> = {},
): fc.Arbitrary<string> {
  const field = ([key, value]: [string, fc.Arbitrary<string>], freq: number) =>
    fc.option(
      value.map((one): [string, string] => [key, one]),
      { nil: undefined, freq },
    )
  const fields = [
    ...Object.entries(required).map((one) => field(one, 20)),
    ...Object.entries(optional).map((one) => field(one, 1)),
  ]
  const further = often(
    [4, fc.constant<[string, string][]>([])],
    [1, fc.array(fc.tuple(name, jsonText), { minLength: 1, maxLength: 2 })],
  )
  return fc
    .tuple(fc.tuple(...fields), further)
    .map(([pairs, more]) => objectText([...pairs.filter((pair) => pair !== undefined), ...more]))
}

export const listOf = (item: fc.Arbitrary<string>, maxLength = 4): fc.Arbitrary<string> =>
  fc.array(item, { maxLength }).map((items) => `[${items.join()}]`)

export const linesOf = (item: fc.Arbitrary<string>, maxLength = 4): fc.Arbitrary<string> =>
  fc
    .tuple(
      fc.array(item, { maxLength }),
      fc.constantFrom("\n", "\r\n", "\n\n", " \n", "\r"),
      fc.constantFrom("", "\n", "\uFEFF"),
    )
    .map(([lines, separator, end]) => lines.join(separator) + end)
