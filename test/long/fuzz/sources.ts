import { randomUUID } from "node:crypto"
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { buffer } from "node:stream/consumers"
import { gzipSync } from "node:zlib"
import fc from "fast-check"
import { ZipFile } from "yazl"
import { batchesOf, type From } from "../../../src/cli/import/batches.ts"
import { openSource, type SourceRequest } from "../../../src/cli/sources/open.ts"
import { SourceError } from "../../../src/cli/sources/reading/source.ts"
import { UsageError } from "../../../src/cli/terminal/errors.ts"
import { cell, columnName, signal, slackEvent, slackMessage, slackNames } from "../../setup/fuzz/bodies.ts"
import { expect, type Suite, suite } from "../../setup/fuzz/check.ts"
import { edited, editedBytes } from "../../setup/fuzz/mutations.ts"
import { json, jsonText, linesOf, listOf, mostly, shaped } from "../../setup/fuzz/values.ts"

/**
 * Reads a source as the importer does, to its end and once more from its middle. Only sentences for a person
 * may end it.
 */
async function readAll(request: SourceRequest): Promise<void> {
  try {
    const { source } = await openSource(request)
    // As the request and the failures file write them.
    for await (const { texts, unreadable } of batchesOf(source, { number: 0, beginning: null }, 20))
      JSON.stringify([JSON.parse(`[${texts.join(",")}]`), unreadable])
    let middle: From["beginning"] = null
    const whole: string[] = []
    for await (const { position, end, ...batch } of batchesOf(source, { number: 0, beginning: null }, 2)) {
      const share = source.share?.(position) ?? 0
      expect(share >= 0 && share <= 1, `a position is ${share} of the source`)
      whole.push(JSON.stringify(batch))
      middle ??= end
    }
    const rest: string[] = []
    for await (const { position: _, end: __, ...batch } of batchesOf(
      source,
      { number: 1, beginning: middle },
      2,
    ))
      rest.push(JSON.stringify(batch))
    expect(rest.join() === whole.slice(1).join(), "reading on behind a beginning gives other batches")
  } catch (error) {
    if (!(error instanceof UsageError || error instanceof SourceError)) throw error
    expect(error.message.length > 10, "an error says nothing")
  }
}

const packed = (sent: string, form: "plain" | "gzip" | "utf-16" | "mark") =>
  ({
    plain: () => Buffer.from(sent),
    gzip: () => gzipSync(sent),
    "utf-16": () => Buffer.from(`\uFEFF${sent}`, "utf16le"),
    mark: () => Buffer.from(`\uFEFF${sent}`),
  })[form]()
const form = fc.constantFrom(
  "plain" as const,
  "plain" as const,
  "gzip" as const,
  "utf-16" as const,
  "mark" as const,
)

const fileOf = (content: fc.Arbitrary<string>) =>
  fc
    .tuple(edited(content), form)
    .map(([sent, one]) => new Uint8Array(packed(sent, one)))
    .chain((bytes) =>
      fc.oneof(
        { weight: 3, arbitrary: fc.constant(bytes) },
        { weight: 1, arbitrary: editedBytes(fc.constant(bytes)) },
      ),
    )

const csvText = fc
  .tuple(
    fc.uniqueArray(columnName, { minLength: 1, maxLength: 5 }),
    fc.array(fc.array(cell, { maxLength: 5 }), { maxLength: 4 }),
    fc.constantFrom(",", ";", "\t"),
  )
  .map(([columns, rows, delimiter]) =>
    [columns, ...rows]
      .map((cells) => cells.map((one) => `"${one.replaceAll('"', '""')}"`).join(delimiter))
      .join("\n"),
  )

const failure = shaped(
  { _error: json("blank") },
  { _line: mostly(json("{}")), _message: slackMessage, _base64: json("AAA=") },
)
const slackDay = fc.oneof(
  listOf(slackMessage),
  linesOf(fc.oneof(slackMessage, slackEvent, failure)),
  shaped(
    { t: json(0, 1, 5), m: listOf(slackMessage) },
    { ci: jsonText, ch: slackNames, u: slackNames, w: jsonText, sm: jsonText },
  ),
  shaped({ messages: listOf(slackMessage) }, { channel_id: json("C1"), name: json("general") }),
)
const slackFiles = fc.record({
  "users.json": fileOf(slackNames),
  "channels.json": fileOf(slackNames),
  "dms.json": fileOf(slackNames),
  "general/2026-01-01.json": fileOf(slackDay),
  "D1ABCDE/2026-01-01.json": fileOf(slackDay),
})

async function zipOf(files: Record<string, Uint8Array>): Promise<Buffer> {
  const zip = new ZipFile()
  for (const [name, bytes] of Object.entries(files)) zip.addBuffer(Buffer.from(bytes), name)
  zip.end()
  return buffer(zip.outputStream)
}

/** slackdump's database with these cells. */
function writeDatabase(path: string, { messages, people }: { messages: string[]; people: string[] }): void {
  const db = new DatabaseSync(path)
  db.exec(`pragma synchronous = off;
    create table MESSAGE (ID integer not null, CHUNK_ID integer not null, CHANNEL_ID text not null, TS text not null, DATA blob not null);
    create table CHANNEL (ID text not null, CHUNK_ID integer not null, DATA blob not null);
    create table S_USER (ID text not null, CHUNK_ID integer not null, DATA blob not null);
    create table WORKSPACE (ID integer primary key, CHUNK_ID integer not null, TEAM_ID text not null)`)
  const message = db.prepare("insert into MESSAGE values (?, 1, 'C1', ?, ?)")
  for (const [index, data] of messages.entries())
    message.run(index, String(index), index % 2 ? data : Buffer.from(data))
  for (const data of people) {
    db.prepare("insert into S_USER values ('U1', 1, ?)").run(data)
    db.prepare("insert into CHANNEL values ('C1', 1, ?)").run(data)
  }
  db.close()
}

/** @param folder where files may be made */
export function sourceSuites(folder: string): Record<string, Suite> {
  /** Writes files below a path of their own, reads them, and removes them. */
  const withFiles = async (files: Record<string, Uint8Array>, read: (path: string) => Promise<void>) => {
    const root = join(folder, randomUUID())
    try {
      for (const [name, bytes] of Object.entries(files)) {
        mkdirSync(dirname(join(root, name)), { recursive: true })
        writeFileSync(join(root, name), bytes)
      }
      await read(root)
    } finally {
      rmSync(root, { recursive: true, force: true })
    }
  }
  return {
    jsonl: suite({
      inputs: fileOf(linesOf(fc.oneof(signal, failure, jsonText))),
      check: (bytes) => withFiles({ a: bytes }, (root) => readAll({ kind: "jsonl", path: join(root, "a") })),
    }),
    csv: suite({
      inputs: fc.record({ bytes: fileOf(csvText), delimiter: fc.constantFrom(",", ";", "\\t") }),
      check: ({ bytes, delimiter }) =>
        withFiles({ a: bytes }, (root) =>
          readAll({
            kind: "csv",
            path: join(root, "a"),
            delimiter,
            map: { room: "context_window_id", a: "context_window_id" },
          }),
        ),
    }),
    slackFile: suite({
      inputs: fc.record({ bytes: fileOf(slackDay), followEdits: fc.boolean() }),
      check: ({ bytes, followEdits }) =>
        withFiles({ a: bytes }, (root) =>
          readAll({ kind: "slack", path: join(root, "a"), team: "T1", followEdits }),
        ),
    }),
    slackFolder: suite({
      inputs: slackFiles,
      check: (files) => withFiles(files, (root) => readAll({ kind: "slack", path: root })),
    }),
    slackZip: suite({
      inputs: fc.record({ files: slackFiles, edit: fc.constant(undefined) }).chain(({ files }) =>
        fc.record({
          files: fc.constant(files),
          edits: editedBytes(fc.constant(new Uint8Array(64))),
          at: fc.nat(2000),
        }),
      ),
      async check({ files, edits, at }) {
        const zip = new Uint8Array(await zipOf(files))
        // Bytes other than zero are written over those of the ZIP.
        for (const [index, byte] of edits.entries()) if (byte !== 0) zip[(at + index) % zip.length] = byte
        const cut = edits.length < 64 ? zip.subarray(0, zip.length - (64 - edits.length)) : zip
        await withFiles({ "a.zip": cut }, (root) => readAll({ kind: "slack", path: join(root, "a.zip") }))
      },
    }),
    slackDatabase: suite({
      inputs: fc.record({
        messages: fc.array(edited(slackMessage), { maxLength: 3 }),
        people: fc.array(edited(slackNames), { maxLength: 2 }),
      }),
      check: (cells) =>
        withFiles({ b: new Uint8Array() }, async (root) => {
          writeDatabase(join(root, "a"), cells)
          await readAll({ kind: "slack", path: join(root, "a") })
        }),
    }),
  }
}

/** Rows of a table, read through a cursor of a real Postgres. */
export const sqlSuite = (from: string): Suite =>
  suite({
    inputs: fc.record({ room: cell, payload: edited(jsonText), number: cell, name: columnName }),
    async check({ room, payload, number, name }) {
      const text = (value: string) => `convert_from('\\x${Buffer.from(value).toString("hex")}', 'utf8')`
      const column = name.replaceAll(/["\0]/g, "").slice(0, 60) || "a"
      const query = `select ${text(room)} as context_window_id, ${text(payload)}::json as payload, ${text(number)} as "${column}"`
      await readAll({ kind: "sql", from, query })
    },
  })
