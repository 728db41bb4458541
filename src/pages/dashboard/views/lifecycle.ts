import type { ErasureRecord } from "../../../signals/erasure.ts"
import type { StorageRecord } from "../../../signals/responses.ts"
import { get, KeyNeeded } from "../base/api.ts"
import { make } from "../base/dom.ts"
import { bytes, count, NONE } from "../base/format.ts"
import { card, exactTime, facts, time } from "../base/parts.ts"
import type { View } from "../base/router.ts"
import { table } from "../base/table.ts"

/** Table sizes, the next partition drop, and erasures. */
export const lifecycleView = (): View => ({
  title: "Storage",
  async build(cancelled) {
    const storage = await get<StorageRecord>("/api/storage", cancelled)
    const { next_drop, oldest_signal, retention_days } = storage
    const shown = facts([
      ["Signals stay", retention_days === null ? "forever" : `${count(retention_days)} days`],
      ["Ledger rows stay", `${count(storage.ledger_retention_days)} days`],
      ["Oldest signal", oldest_signal === null ? "none" : exactTime(oldest_signal)],
      [
        "Next drop",
        next_drop === null
          ? "none is due"
          : make("span", {}, `${next_drop.partition}, `, exactTime(next_drop.at)),
      ],
    ])
    const sizes = facts([
      ["Signals", `about ${count(storage.signal_count)}, ${bytes(storage.bytes.signals)}`],
      ["Ledger", bytes(storage.bytes.batches)],
      ["Dedupe keys", bytes(storage.bytes.dedupe_keys)],
      ["Dead letters", bytes(storage.bytes.dead_letters)],
      ["Partitions", count(storage.partition_count)],
    ])
    return [card("Size", sizes), card("Retention", shown), partitions(storage), await erasures(cancelled)]
  },
})

function partitions({ partitions }: StorageRecord): HTMLElement {
  const panel = card("Partitions, oldest first")
  table<StorageRecord["partitions"][number]>(panel, {
    label: "Partitions",
    none: "The table has no partitions.",
    hook: ({ name }) => ["data-partition", name],
    columns: [
      { title: "Name", cell: ({ name }) => name },
      {
        title: "From id",
        numeric: true,
        cell: ({ from_id }) => (from_id === null ? NONE : from_id.toLocaleString()),
      },
      { title: "To id", numeric: true, cell: ({ to_id }) => to_id.toLocaleString() },
      { title: "Size", numeric: true, cell: (partition) => bytes(partition.bytes) },
    ],
  }).show(partitions)
  return panel
}

/** Only a key with the scope `admin` reads erasures; for any other key the panel says so. */
async function erasures(cancelled: AbortSignal): Promise<HTMLElement> {
  const panel = card("Erasures")
  try {
    const page = await get<{ erasures: ErasureRecord[] }>("/api/erasures?limit=50", cancelled)
    table<ErasureRecord>(panel, {
      label: "Erasures",
      none: "Nothing was erased on request.",
      hook: ({ id }) => ["data-erasure", id],
      columns: [
        { title: "Time", cell: (erasure) => time(erasure.created_at) },
        { title: "State", cell: ({ state }) => state },
        { title: "By", cell: (erasure) => make("span", { class: "name" }, erasure.requested_by) },
        { title: "Subject", cell: ({ kind }) => kind },
        { title: "Suppressed", cell: ({ suppress }) => (suppress ? "yes" : "no") },
        { title: "Signals", numeric: true, cell: ({ erased }) => count(erased.signals) },
        { title: "Dead letters", numeric: true, cell: ({ erased }) => count(erased.dead_letters) },
      ],
    }).show(page.erasures)
  } catch (error) {
    if (!(error instanceof KeyNeeded)) throw error
    panel.append(make("p", { class: "none" }, "Erasures are shown to keys with the scope admin."))
  }
  return panel
}
