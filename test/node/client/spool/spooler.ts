import { BatchProcessor, SignalClient } from "../../../../src/client/index.ts"
import { openSpool } from "../../../../src/client/spool/spool.ts"

/**
 * Adds signals with numbers from `from` on, and prints each number once `add` has accepted it; killed by the
 * test in the middle. A number is in the pipe before the next is added, so that a kill loses the last one at
 * most.
 */
const [url = "", folder = "", from = "0", count = "0"] = process.argv.slice(2)

const client = new SignalClient({ url, deadlineMs: 60_000 })
const processor = new BatchProcessor(client, {
  maxCount: 7,
  maxWaitMs: 5,
  maxInFlight: 3,
  spool: await openSpool(folder),
})
for (let number = Number(from); number < Number(from) + Number(count); number++) {
  await processor.add({ context_window_id: "conv-spool", raw_content: String(number) })
  await new Promise((resolve) => process.stdout.write(`${number}\n`, resolve))
}
await processor.close()
process.stdout.write("closed\n")
