import { createReadStream } from "node:fs"
import { readdir, stat } from "node:fs/promises"
import { join } from "node:path"
import { type Entry, openPromise, type ZipFile } from "yauzl"
import { UsageError } from "../../terminal/errors.ts"
import { unpack } from "../reading/bytes.ts"
import { SourceError } from "../reading/source.ts"

/** One file of a history. */
export interface HistoryFile {
  /** With `/` between folders. */
  name: string
  /** Size on disk, or unpacked in a ZIP. */
  bytes: number
  /** Whether it is in a ZIP, where a few bytes can unpack to very many. */
  isPacked: boolean
  /** Reads its bytes, unpacked. */
  open(): AsyncIterable<Buffer>
}

/** Bound of a file that is one JSON document, which is read as a whole. */
export const MAX_FILE_BYTES = 256 * 1024 * 1024
const MAX_FILES = 500_000

/** Lists the files of a folder, sorted by name. */
export async function filesOfFolder(path: string): Promise<HistoryFile[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  refuseMany(path, entries.length)
  const files: HistoryFile[] = []
  for (const entry of entries) {
    const full = join(entry.parentPath, entry.name)
    const found = entry.isDirectory() ? undefined : await stat(full).catch(() => undefined)
    if (!found?.isFile()) continue
    const name = full.slice(join(path, "/").length).replaceAll("\\", "/")
    files.push({
      name,
      bytes: found.size,
      isPacked: false,
      open: () => unpack(createReadStream(full), full),
    })
  }
  return files.sort(byName)
}

/** Lists the files of a ZIP, sorted by name. A file is unpacked when it is read. */
export async function filesOfZip(path: string): Promise<HistoryFile[]> {
  const zip = await openPromise(path, { lazyEntries: true, autoClose: false }).catch((error: Error) => {
    throw new UsageError(
      `${path} is not a readable ZIP: ${error.message.replace(/\.$/, "")}. Download or copy it again.`,
    )
  })
  // A damaged ZIP can emit a second error, which has no other listener.
  zip.on("error", () => {})
  refuseMany(path, zip.entryCount)
  const files: HistoryFile[] = []
  try {
    for await (const entry of zip.eachEntry())
      if (!entry.fileName.endsWith("/")) files.push(fileOf(zip, entry, path))
  } catch (error) {
    throw new UsageError(
      `${path} cannot be read: ${(error as Error).message}. Unpack it, and import the folder.`,
    )
  }
  return files.sort(byName)
}

function fileOf(zip: ZipFile, entry: Entry, path: string): HistoryFile {
  const { fileName: name, uncompressedSize: bytes } = entry
  return {
    name,
    bytes,
    isPacked: true,
    async *open() {
      try {
        // The declared size is the bound: yauzl ends the stream with an error beyond it.
        yield* unpack(await zip.openReadStreamPromise(entry), `${path}: ${name}`)
      } catch (error) {
        if (error instanceof SourceError) throw error
        throw new SourceError(
          `${path}: ${name} cannot be unpacked: ${(error as Error).message}. Download or copy the ZIP again.`,
        )
      }
    },
  }
}

const byName = (one: HistoryFile, other: HistoryFile) => (one.name < other.name ? -1 : 1)

function refuseMany(path: string, count: number): void {
  if (count > MAX_FILES)
    throw new UsageError(
      `${path} has ${count} files, more than ${MAX_FILES}. Import it in parts, such as a channel at a time.`,
    )
}

/** Throws `UsageError` when a file of a ZIP is larger than the bound. */
export function refuseLarge(path: string, files: readonly HistoryFile[]): void {
  const large = files.find(({ isPacked, bytes }) => isPacked && bytes > MAX_FILE_BYTES)
  if (large)
    throw new UsageError(
      `${path} is refused: ${large.name} has ${mib(large.bytes)} MiB unpacked, more than ${mib(MAX_FILE_BYTES)} MiB. Remove it from the ZIP.`,
    )
}

const mib = (bytes: number) => Math.ceil(bytes / 1024 / 1024)
