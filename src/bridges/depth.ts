import { isDeeperThan } from "../signals/payload.ts"

/**
 * Bound of nesting: the record is written as JSON again, which overflows the stack at a few thousand levels.
 */
const MAX_RECORD_DEPTH = 1000

/** A dead letter keeps the text of a record that nests too deeply. */
export const isTooDeep = (value: unknown) => isDeeperThan(value, MAX_RECORD_DEPTH)
export const TOO_DEEP = `the record nests deeper than ${MAX_RECORD_DEPTH} levels`
