import { type History, readHistoryFile } from "./read.ts"
import { idsInOrder, ledgerKeeps, oneAnswerAKey, oneIdADedupeKey } from "./rules/answers.ts"
import { metricsEqualLedger, statisticsRecount, subscriptionMissesNothing } from "./rules/counts.ts"
import { erasedIsGone, feedOnce, visible } from "./rules/reads.ts"
import { storedOnce } from "./rules/stored.ts"

/** A run that was cut off, or whose file was, proves nothing. */
function isWhole({ end, rows, ledgerLines }: History): string[] {
  if (!end) return ["the history has no end: the run was cut off"]
  const isComplete = end.rows === rows.length && end.entered === ledgerLines.length
  return isComplete ? [] : ["the history has not all rows of its tables"]
}

/** Each rule is a pure function of a history: it returns what broke it, a sentence each. */
export const RULES: Readonly<Record<string, (history: History) => string[]>> = {
  "the history is whole": isWhole,
  "stored once, or nothing, or all of a doubt": storedOnce,
  "the ledger never takes an answer back": ledgerKeeps,
  "one answer a key": oneAnswerAKey,
  "ids are unique and in order": idsInOrder,
  "one id a dedupe key for ever": oneIdADedupeKey,
  "a stored signal is visible to the next read": visible,
  "each reader of the feed sees each signal once, all in one order": feedOnce,
  "statistics equal a recount": statisticsRecount,
  "no read has what was erased": erasedIsGone,
  "metrics equal the ledger": metricsEqualLedger,
  "a subscription misses nothing": subscriptionMissesNothing,
}

/** What broke which rule. */
export interface Broken {
  rule: string
  sentence: string
}

/** Checks a history by every rule. */
export const checkHistory = (history: History): Broken[] =>
  Object.entries(RULES).flatMap(([rule, broken]) => broken(history).map((sentence) => ({ rule, sentence })))

/** Checks a file, and returns a line for each sentence that broke a rule. */
export async function checkFile(path: string): Promise<string[]> {
  return checkHistory(await readHistoryFile(path)).map(({ rule, sentence }) => `${rule}: ${sentence}`)
}
