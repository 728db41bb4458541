import { BatchProcessor, SignalClient } from "../../../src/client/index.ts"
import { openSpool } from "../../../src/client/spool/spool.ts"
import { signalOf } from "./messages.ts"

/** Adds the messages `from` to `end` - 1 with a spool, and prints how many it has accepted; may be killed. */
const [url = "", folder = "", from = "0", end = "0"] = process.argv.slice(2)
/** Calls of `add` at once. */
const AT_ONCE = 200
const WHEN_FULL_MS = 100

const processor = new BatchProcessor(new SignalClient({ url }), {
  maxCount: 500,
  spool: await openSpool(folder),
  onFailure: ({ error }) => fail(error),
  onUndelivered: ({ error }) => fail(error.message),
})
for (let start = Number(from); start < Number(end); start += AT_ONCE) {
  const indexes = Array.from({ length: Math.min(AT_ONCE, Number(end) - start) }, (_, at) => start + at)
  await Promise.all(indexes.map(addWhenThereIsRoom))
  process.stdout.write(`${start + indexes.length}\n`)
}
await processor.flush()
await processor.close()

/** A full spool rejects `add`, and accepts again when the service has stored some of it. */
async function addWhenThereIsRoom(index: number): Promise<void> {
  for (;;)
    try {
      return await processor.add(signalOf(index))
    } catch (error) {
      if (!(error instanceof Error && /spool/.test(error.message))) throw error
      await new Promise((resolve) => setTimeout(resolve, WHEN_FULL_MS))
    }
}

function fail(sentence: string): never {
  console.error(sentence)
  process.exit(1)
}
