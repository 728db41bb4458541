import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { expect, it } from "vitest"
import { useEmptyTables, useFolder, useRig } from "../../setup/hooks/rig.ts"
import { run } from "./import/importer.ts"

const rig = useRig()
const folder = useFolder()
useEmptyTables(rig)

/** The line ends of Unicode that JSON leaves as they are, at which some readers of lines end a line. */
const LINE_ENDS = "a\u2028b\u2029c\u0085d"

const signals = async (...args: string[]) => {
  const { code, out } = await run(folder.path, args, { SIGNAL_INGEST_URL: rig.service.address })
  return { code, out }
}

/** The objects of a text of lines, which no reader of lines cuts elsewhere. */
function objectsOf(text: string): unknown[] {
  expect(text).not.toMatch(/[\u0085\u2028\u2029]/)
  return text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line))
}

it("are escaped in each NDJSON that the command line writes, and read back as they were", async () => {
  const good = { context_window_id: "c", raw_content: LINE_ENDS, payload: { [LINE_ENDS]: [LINE_ENDS] } }
  const bad = { ...good, signal_score: 2 }
  const lines = [good, bad].map((signal) => `${JSON.stringify(signal)}\n`)
  await writeFile(join(folder.path, "in.jsonl"), lines.join(""))
  expect(await signals("import", "jsonl", "in.jsonl", "--failures", "failed.jsonl")).toMatchObject({
    code: 1,
  })
  await fetch(`${rig.service.address}/webhooks/kafka`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify([bad]),
  })

  expect(await signals("export", "--format", "ndjson", "--out", "out.jsonl")).toMatchObject({ code: 0 })
  const exported = objectsOf(await readFile(join(folder.path, "out.jsonl"), "utf8"))
  expect(exported).toEqual([expect.objectContaining(good)])
  expect(objectsOf((await signals("export", "--format", "ndjson", "--out", "-")).out)).toEqual(exported)
  expect(objectsOf((await signals("tail", "--quiet")).out)).toEqual(exported)
  expect(objectsOf(await readFile(join(folder.path, "failed.jsonl"), "utf8"))).toMatchObject([bad])

  const [listed] = objectsOf((await signals("dlq", "list", "--json")).out) as { id: number }[]
  const [shown] = objectsOf((await signals("dlq", "show", String(listed?.id), "--json")).out)
  expect(JSON.stringify(shown)).toContain("signal_score must be between")
  expect(JSON.parse((shown as { record: string }).record)).toMatchObject({ value: bad })
})
