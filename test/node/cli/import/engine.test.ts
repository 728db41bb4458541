import { join } from "node:path"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { expect, it } from "vitest"
import { FailuresFile } from "../../../../src/cli/files/failures.ts"
import type { ImportBatch } from "../../../../src/cli/import/batches.ts"
import { newCheckpoint } from "../../../../src/cli/import/checkpoint.ts"
import { runImport } from "../../../../src/cli/import/engine.ts"
import { upTo, useFolder } from "../../../setup/hooks/rig.ts"

const folder = useFolder()

it("an import keeps no batch in memory that it has saved", async () => {
  setFlagsFromString("--expose-gc")
  const collectGarbage = runInNewContext("gc") as () => void
  const begun: WeakRef<ImportBatch>[] = []
  let kept = 0
  const isComplete = await runImport({
    source: {
      async *records() {
        for (const number of upTo(100)) {
          const place = String(number)
          yield { place, signal: { context_window_id: "c", raw_content: place }, position: place }
        }
      },
    },
    checkpoint: newCheckpoint({ kind: "jsonl", name: "", source: "", service: "", key: "", batchSize: 1 }),
    statePath: join(folder.path, "state.json"),
    failures: new FailuresFile(join(folder.path, "failed.jsonl")),
    async deliver(batch) {
      begun.push(new WeakRef(batch))
      // A weak reference holds what it was made for until the end of its turn.
      await new Promise(setImmediate)
      if (begun.length < 100) return []
      collectGarbage()
      kept = begun.filter((one) => one.deref() !== undefined).length
      return []
    },
    concurrency: 2,
    stop: new AbortController().signal,
    onProgress: () => {},
  })
  expect([isComplete, begun.length]).toEqual([true, 100])
  // Those in flight, and a few on their way.
  expect(kept).toBeLessThan(10)
})
