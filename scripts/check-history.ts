import { checkHistory, RULES } from "../test/setup/history/check.ts"
import { readHistoryFile } from "../test/setup/history/read.ts"

/** `npm run check:history FILE...`: checks histories that the long tests and the load runs wrote. */
const SHOWN = 20

const paths = process.argv.slice(2)
if (paths.length === 0) {
  console.error("Give the paths of histories, such as test-results/history/stress-7.jsonl.")
  process.exit(2)
}
let broken = 0
for (const path of paths) {
  const startedAt = performance.now()
  const history = await readHistoryFile(path)
  const found = Map.groupBy(checkHistory(history), ({ rule }) => rule)
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  console.log(
    `${path}: ${history.lines} lines, ${history.writes.length} writes, ${history.rows.length} rows, ${seconds} s`,
  )
  for (const rule of Object.keys(RULES)) {
    const sentences = (found.get(rule) ?? []).map(({ sentence }) => sentence)
    broken += sentences.length
    console.log(`  ${sentences.length === 0 ? "ok    " : "BROKEN"} ${rule}`)
    for (const sentence of sentences.slice(0, SHOWN)) console.log(`           ${sentence}`)
    if (sentences.length > SHOWN) console.log(`           and ${sentences.length - SHOWN} more`)
  }
}
process.exit(broken > 0 ? 1 : 0)
