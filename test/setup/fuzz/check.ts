import fc from "fast-check"

/** One parser, what it is fed with, and what must hold. It runs in workerd or in Node. */
export interface Suite<Input = unknown> {
  inputs: fc.Arbitrary<Input>
  /** How many inputs a value of `inputs` holds. Default: 1. */
  sizeOf?(input: Input): number
  /** Throws, or rejects, when something does not hold. */
  check(input: Input): void | Promise<void>
}

/** Keeps the type of a suite's inputs where it is written, and forgets it where suites are listed. */
export const suite = <Input>(one: Suite<Input>): Suite => one as unknown as Suite

/** Which inputs a run has: the same seed and the same number of values give the same inputs. */
export interface Run {
  seed: number
  values: number
  /** fast-check's path to one value of the run; without it, all of them. */
  path?: string | undefined
}

export interface Outcome {
  inputs: number
  /** Milliseconds of the slowest input. */
  slowestMs: number
  failure?: { error: string; input: string; path: string }
}

/**
 * No input of a parser takes longer; the least of three tries counts, since a busy machine slows any of them.
 */
export const MAX_PARSE_MS = 500

const MAX_SHOWN_CHARACTERS = 4000

/** Runs a suite, and shrinks the first input that fails. */
export async function runSuite(
  { inputs, check, sizeOf = () => 1 }: Suite,
  { seed, values, path }: Run,
  maxMs = MAX_PARSE_MS,
): Promise<Outcome> {
  let slowestMs = 0
  let count = 0
  const property = fc.asyncProperty(inputs, async (input) => {
    count += sizeOf(input)
    let least = Number.POSITIVE_INFINITY
    for (let attempt = 0; attempt < 3 && least > maxMs; attempt++) {
      const startedAt = performance.now()
      await check(input)
      least = Math.min(least, performance.now() - startedAt)
    }
    slowestMs = Math.max(slowestMs, least)
    if (least > maxMs) throw new Error(`It took ${Math.round(least)} ms, more than ${maxMs} ms`)
  })
  const details = await fc.check(property, {
    seed,
    numRuns: values,
    ...(path !== undefined && { path }),
    maxSkipsPerRun: 0,
  })
  if (!details.failed) return { inputs: count, slowestMs }
  const { counterexample, counterexamplePath, errorInstance } = details
  const error =
    errorInstance instanceof Error ? (errorInstance.stack ?? errorInstance.message) : String(errorInstance)
  const input = fc.stringify(counterexample?.[0])
  return { inputs: count, slowestMs, failure: { error, input: cut(input), path: counterexamplePath ?? "" } }
}

const cut = (text: string) =>
  text.length <= MAX_SHOWN_CHARACTERS
    ? text
    : `${text.slice(0, MAX_SHOWN_CHARACTERS)} ... (${text.length} characters)`

export function expect(holds: unknown, sentence: string): asserts holds {
  if (!holds) throw new Error(sentence)
}

/** Runs `parse`, and passes over the errors of a parser that says no by `refusals`; undefined then. */
export function refusing<Value>(
  parse: () => Value,
  ...refusals: (abstract new (
    ...args: never[]
  ) => Error)[]
): Value | undefined {
  try {
    return parse()
  } catch (error) {
    if (refusals.some((kind) => error instanceof kind)) return undefined
    throw error
  }
}
