import { BatchProcessor, SignalClient } from "../../../../src/client/index.ts"
import { openSpool } from "../../../../src/client/spool/spool.ts"

/**
 * Adds signals with numbers from `from` on, and prints each number once `add` has accepted it; killed by the
 * test in the middle.
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
  process.stdout.write(`${number}\n`)
}
await processor.close()
process.stdout.write("closed\n")
