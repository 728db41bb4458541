import { readdir, readFile, stat } from "node:fs/promises"
import { join } from "node:path"
import { type Entry, openPromise } from "yauzl"
import { UsageError } from "../usage.ts"

/** The files of an export, whatever it is packed in. */
export interface ExportFiles {
  /** With `/` between folders, sorted. */
  names: string[]
  read(name: string): Promise<string>
}

/** Opens a folder or a ZIP. */
export async function openExport(path: string): Promise<ExportFiles> {
  const found = await stat(path).catch(() => {
    throw new UsageError(`${path} can't be read: there is no such file or folder.`)
  })
  return found.isDirectory() ? openFolder(path) : openZip(path)
}

async function openFolder(path: string): Promise<ExportFiles> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  const names = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(join(path, "/").length).replaceAll("\\", "/"))
  return { names: names.sort(), read: (name) => readFile(join(path, name), "utf8") }
}

/** Files of a ZIP are unpacked one at a time, when they are read. */
async function openZip(path: string): Promise<ExportFiles> {
  const zip = await openPromise(path, { lazyEntries: true, autoClose: false }).catch((error: Error) => {
    throw new UsageError(`${path} is no ZIP: ${error.message}.`)
  })
  const entries = new Map<string, Entry>()
  await new Promise<void>((resolve, reject) => {
    zip.on("entry", (entry: Entry) => {
      if (!entry.fileName.endsWith("/")) entries.set(entry.fileName, entry)
      zip.readEntry()
    })
    zip.once("end", resolve)
    zip.once("error", reject)
    zip.readEntry()
  })
  return {
    names: [...entries.keys()].sort(),
    async read(name) {
      const stream = await zip.openReadStreamPromise(entries.get(name) as Entry)
      const chunks: Buffer[] = []
      for await (const chunk of stream) chunks.push(chunk as Buffer)
      return Buffer.concat(chunks).toString("utf8")
    },
  }
}
