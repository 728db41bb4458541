import { execFile } from "node:child_process"
import { createWriteStream } from "node:fs"
import { join } from "node:path"
import { pipeline } from "node:stream/promises"
import { promisify } from "node:util"
import { expect, it } from "vitest"
import { ROOT } from "../../../src/local/machine/root.ts"
import type { Line } from "../../setup/history/lines.ts"
import { HistoryTooLarge, readHistory, readHistoryFile } from "../../setup/history/read.ts"
import { startHistory } from "../../setup/history/record.ts"
import { useFolder } from "../../setup/hooks/rig.ts"

const folder = useFolder()

const WRITES = 50_000
/** Node's heap. */
const MEBIBYTES = 400

/** A history of 200,001 lines: each write has a request, an answer, a row and an entry of the ledger. */
function* large(): Generator<Line> {
  for (let n = 1; n <= WRITES; n++) {
    const signal = { hash: `hash-${n}`, conversation: `c-${n % 500}`, user: `u-${n % 700}` }
    const [client, transaction] = [`client-${n % 32}`, `transaction-${n}`]
    yield {
      type: "invoke",
      n,
      at: 2 * n,
      client,
      operation: "batch",
      key: `key-${n}`,
      hash: `b-${n}`,
      signals: [signal],
    }
    yield {
      type: "answer",
      n,
      at: 2 * n + 1,
      status: 200,
      transaction,
      results: [["stored", n]],
      counts: [1, 0],
    }
    yield { type: "row", id: n, ...signal, transaction }
    yield { type: "entered", transaction, state: "stored", successful: 1, failed: 0, key: `key-${n}` }
  }
  yield { type: "end", rows: WRITES, entered: WRITES }
}

function* textsOf(lines: Iterable<Line>): Generator<string> {
  for (const line of lines) yield `${JSON.stringify(line)}\n`
}

it(`200,000 lines are checked by the command within ${MEBIBYTES} MiB of heap`, async () => {
  const path = join(folder.path, "large.jsonl")
  await pipeline(textsOf(large()), createWriteStream(path))
  const args = [`--max-old-space-size=${MEBIBYTES}`, join(ROOT, "scripts/check-history.ts"), path]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  expect(stdout).toContain("200001 lines, 50000 writes, 50000 rows")
  expect(stdout).not.toContain("BROKEN")
})

it("a line may have any text, such as one that other readers end a line at", async () => {
  const path = join(folder.path, "odd.jsonl")
  const history = await startHistory(path)
  const row = { hash: "h", conversation: "c", dedupeKey: "a\u2028b\u0085c\r\nd", transaction: "t" }
  history.write({ type: "row", id: 1, ...row })
  await history.close()
  expect((await readHistoryFile(path)).rows).toEqual([{ type: "row", id: 1, ...row }])
})

it("more signals than the memory is meant for are refused with the number", async () => {
  const reading = readHistory(textsOf(large()), 1000)
  await expect(reading).rejects.toThrow(HistoryTooLarge)
  await expect(reading).rejects.toThrow("more than 1,000 signals")
})
