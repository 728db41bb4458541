import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { ROOT } from "../../../src/local/machine/root.ts"
import { parseJson, parseNdjson } from "../../../src/signals/json.ts"
import { parseTimestamp } from "../../../src/signals/timestamp.ts"
import { readTraceparent } from "../../../src/trace.ts"

/** What reads nothing of a sender: the local stack, what is made before the deployment, pages, an own url. */
const OWN = /^src\/(local\/|openapi\/|pages\/|client\/http\/address\.ts)/

/** A regular expression in formatted code: what stands before it is no value, so that it is no division. */
const LITERAL =
  /(?<=[([,=!:?|&>]\s?|return |^\s*)\/(?![*/ ])((?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+)\/([dgimsuvy]*)/gm

interface Literal {
  path: string
  source: string
  flags: string
}

const LITERALS: Literal[] = (readdirSync(join(ROOT, "src"), { recursive: true }) as string[])
  .map((name) => `src/${name}`)
  .filter((path) => path.endsWith(".ts") && !OWN.test(path))
  .flatMap((path) =>
    [...readFileSync(join(ROOT, path), "utf8").matchAll(LITERAL)].map(([, source = "", flags = ""]) => ({
      path,
      source,
      flags,
    })),
  )

/** Characters and short texts to repeat: each that an expression could take in more than one way. */
const REPEATED = [
  ...'01.aAZ_ \t,;=-+eE/"\\[({#:@\u2028\n',
  ...[
    "1.",
    "1e",
    "1,",
    "a=",
    ";a",
    ", ",
    '\\"',
    "a.",
    "1111111111111111-",
    "ab ",
    ', "',
    "\\u0000",
    "/a",
    ".a",
  ],
]
const ENDS = ["", "\u0001", "x"]

/** The characters with which a match of an expression begins, where its source shows them. */
const beginningOf = (source: string) =>
  /^\^?((?:[\w :"'-]|\\[/.])*)/
    .exec(source)?.[1]
    ?.replaceAll("\\", "")
    .replace(/[*+?]$/, "") ?? ""

/** Twice as much is the longest URL, so the longest query. */
const CHARACTERS = 8192

/** The CPU time of some work in milliseconds, in this thread alone. */
function cpuMs(work: () => void): number {
  const before = process.threadCpuUsage()
  work()
  return process.threadCpuUsage(before).user / 1000
}

const leastOf = (work: () => void) => Math.min(...[0, 1, 2].map(() => cpuMs(work)))

/** Below it a time says nothing about growth. What is worse than linear takes far more at these lengths. */
const NOTABLE_MS = 40

/** The lengths at which what doubles with each character shows itself before it hangs. */
const SHORT = Array.from({ length: 13 }, (_, step) => 16 + 4 * step)

/** Whether a short input takes long, or twice the input more than three times the time. */
function isWorseThanLinear(input: (characters: number) => string, read: (text: string) => void) {
  for (const characters of SHORT) if (cpuMs(() => read(input(characters))) >= NOTABLE_MS) return true
  const long = input(2 * CHARACTERS)
  if (cpuMs(() => read(long)) < NOTABLE_MS) return false
  const short = input(CHARACTERS)
  return leastOf(() => read(long)) > 3 * leastOf(() => read(short))
}

/** The inputs at which a reader is worse than linear: where they begin, and what they repeat. */
function slowInputs(read: (text: string) => void, beginnings: Iterable<string>, repeated: string[]) {
  for (const beginning of beginnings)
    for (const one of repeated)
      for (const input of inputsOf(one, beginning))
        if (isWorseThanLinear(input, read)) return [`${beginning}${one}...`]
  return []
}

const inputsOf = (repeated: string, beginning = "") =>
  ENDS.map((end) => (characters: number) => {
    return beginning + repeated.repeat(Math.ceil(characters / repeated.length)) + end
  })

function run({ source, flags }: Literal, text: string): void {
  const expression = new RegExp(source, flags)
  if (expression.global) text.replace(expression, "")
  else expression.test(text)
}

it("the search finds the expressions of the code", () => {
  expect(LITERALS.length).toBeGreaterThan(90)
  expect(LITERALS.map(({ path }) => path)).toEqual(
    expect.arrayContaining(["src/http/request/params.ts", "src/trace.ts", "src/signals/json.ts"]),
  )
})

it.each([
  ["\\d+x", ""],
  ["^a*a*$", ""],
  ["0+$", "g"],
  ["^(?:aa|a)+x", ""],
])("the search for slow expressions finds /%s/%s", (source, flags) => {
  const found = slowInputs((text) => run({ path: "", source, flags }, text), [""], REPEATED)
  expect(found).not.toEqual([])
})

describe("takes a time that grows with its input, not with its square:", () => {
  it.each(LITERALS)("/$source/$flags of $path", (literal) => {
    const beginnings = new Set(["", "1", beginningOf(literal.source)])
    expect(slowInputs((text) => run(literal, text), beginnings, REPEATED)).toEqual([])
  })

  const readers: [string, (text: string) => unknown][] = [
    ["a body of JSON", parseJson],
    ["a body of NDJSON", (text) => parseNdjson(text, 10_000)],
    ["a timestamp", parseTimestamp],
    ["traceparent", readTraceparent],
  ]
  it.each(readers)("%s", (_, read) => {
    const refused = (text: string) => {
      try {
        read(text)
      } catch {
        // An unreadable text is refused.
      }
    }
    expect(slowInputs(refused, ["", "["], [...REPEATED, "[],", "1e400,", '"a",'])).toEqual([])
  })
})
