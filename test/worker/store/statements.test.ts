import { expect, it } from "vitest"
import { insertByHalves } from "../../../src/store/batches/by-halves.ts"
import { writeDeliveries } from "../../../src/store/batches/deliveries.ts"
import { encodeColumns } from "../../../src/store/batches/statement.ts"
import { writeBatch } from "../../../src/store/batches/write.ts"
import type { Database } from "../../../src/store/database/connection.ts"
import { signalById } from "../../../src/store/signals/read.ts"
import { firstStatement } from "../../setup/first-statement.ts"
import { delivery } from "../consumer/messages.ts"
import { batchOf } from "./batches/batch-of.ts"

/** The text of the first statement that `work` sends, its white space evened out. */
const statementOf = async (work: (db: Database) => Promise<unknown>) =>
  (await firstStatement(work)).sql.replace(/\s+/g, " ").trim()

// Neon's proxy parses and plans a statement again each time, so its text is part of what it costs.
it.each<[name: string, work: (db: Database) => Promise<unknown>]>([
  ["a batch", (db) => writeBatch(db, batchOf([{ context_window_id: "c" }]))],
  [
    "a batch with dedupe_keys",
    (db) => writeBatch(db, batchOf([{ context_window_id: "c", dedupe_key: "k" }])),
  ],
  [
    "a batch by halves",
    (db) =>
      insertByHalves(
        db,
        { batch: batchOf([{ context_window_id: "c" }]), deadLetters: undefined },
        encodeColumns([]),
      ),
  ],
  ["deliveries", (db) => writeDeliveries(db, [delivery([{ context_window_id: "c" }])])],
  [
    "deliveries with dedupe_keys",
    (db) => writeDeliveries(db, [delivery([{ context_window_id: "c", dedupe_key: "k" }])]),
  ],
  ["a signal read by its id", (db) => signalById(db, 1)],
])("the statement for %s equals the snapshot", async (_, work) => {
  expect(await statementOf(work)).toMatchSnapshot()
})
