import { createHash } from "node:crypto"
import { stat } from "node:fs/promises"
import { basename, resolve } from "node:path"
import { SIGNAL_FIELDS } from "../../signals/schema.ts"
import { UsageError } from "../usage.ts"
import { unknownField } from "./columns.ts"
import { openCsv } from "./csv.ts"
import { openJsonl } from "./jsonl.ts"
import { filesOfFolder, type HistoryFile } from "./slack/files.ts"
import { openSlackHistory } from "./slack/history.ts"
import type { Source } from "./source.ts"
import { openSql } from "./sql.ts"

/** A source as given on the command line. */
export type SourceRequest =
  | { kind: "slack"; path: string; team?: string | undefined; followEdits?: boolean | undefined }
  | { kind: "sql"; from: string; query: string; map?: Record<string, string> | undefined }
  | { kind: "jsonl"; path: string }
  | { kind: "csv"; path: string; map?: Record<string, string> | undefined; delimiter: string }
  | { kind: "parquet"; path: string; map?: Record<string, string> | undefined }

export interface OpenedSource {
  source: Source
  /** For people, and for the name of the state file. */
  name: string
  /** Identifies this source in its present state. */
  fingerprint: string
}

/** @throws {UsageError} the source does not exist, or `map` has a name that is not a field of a signal */
export async function openSource(request: SourceRequest): Promise<OpenedSource> {
  const map = ("map" in request && request.map) || {}
  const wrong = unknownField(map)
  if (wrong !== undefined)
    throw new UsageError(
      `--map: a signal has no field "${wrong}". The fields are: ${[...SIGNAL_FIELDS].join(", ")}.`,
    )
  const { kind } = request
  if (kind === "sql") {
    const { from, query } = request
    const { host, pathname } = parseUrl(from)
    return {
      source: openSql({ from, query, map }),
      name: `sql${pathname}`,
      fingerprint: fingerprintOf({ kind, host, pathname, query, map }),
    }
  }
  const { facts, folder } = await factsOf(request.path)
  if (kind === "parquet" && request.path === "-")
    throw new UsageError("parquet is read from a file, since its description is at its end. Name one.")
  if (folder && kind !== "slack")
    throw new UsageError(`${request.path} is a folder. import ${kind} takes a file.`)
  return {
    source: await openPath(request, map, folder),
    name: basename(request.path),
    fingerprint: fingerprintOf({ kind, ...facts, ...settingsOf(request, map) }),
  }
}

/** What changes the records that are read of the same bytes. */
function settingsOf(request: SourceRequest, map: Record<string, string>): Record<string, unknown> {
  if (request.kind === "csv") return { map, delimiter: request.delimiter }
  if (request.kind === "parquet") return { map }
  return request.kind === "slack" ? slackSettings(request) : {}
}

/** Settings that are not given are left out, so that a state file of an earlier version still matches. */
const slackSettings = ({ team, followEdits }: Extract<SourceRequest, { kind: "slack" }>) => ({
  team,
  followEdits: followEdits || undefined,
})

async function openPath(
  request: Exclude<SourceRequest, { kind: "sql" }>,
  map: Record<string, string>,
  folder: HistoryFile[] | undefined,
): Promise<Source> {
  const { path } = request
  if (request.kind === "slack")
    return openSlackHistory(path, { team: request.team, followEdits: request.followEdits, folder })
  if (request.kind === "jsonl") return openJsonl(path)
  if (request.kind === "parquet") {
    // Few imports need it, and it takes a while to load.
    const { openParquet } = await import("./parquet.ts")
    return openParquet(path, { map })
  }
  return openCsv(path, { map, delimiter: request.delimiter === "\\t" ? "\t" : request.delimiter })
}

/**
 * Returns the facts that identify a path in its present state: size and time of change of a file, or of all
 * files of a folder. Standard input has none, so each run is a new source.
 */
async function factsOf(path: string): Promise<{ facts: Record<string, unknown>; folder?: HistoryFile[] }> {
  if (path === "-") return { facts: { path, at: Date.now() } }
  const found = await stat(path).catch(() => {
    throw new UsageError(`${path} cannot be read: there is no such file or folder.`)
  })
  if (found.isFile()) return { facts: { path: resolve(path), bytes: found.size, changedMs: found.mtimeMs } }
  if (!found.isDirectory())
    throw new UsageError(`${path} is neither a file nor a folder. Use - for standard input.`)
  const folder = await filesOfFolder(path)
  const hash = createHash("sha256")
  for (const { name, bytes, changedMs } of folder)
    hash.update(`${JSON.stringify([name, bytes, changedMs])}\n`)
  return { facts: { path: resolve(path), files: hash.digest("hex") }, folder }
}

function parseUrl(text: string): URL {
  const url = URL.parse(text)
  if (!url || !/^postgres(ql)?:$/.test(url.protocol))
    throw new UsageError("--from must be postgres://user:password@host/database.")
  return url
}

/** Returns a digest: a state file must hold no query and stay short. */
const fingerprintOf = (facts: Record<string, unknown>) =>
  `sha256:${createHash("sha256").update(JSON.stringify(facts)).digest("hex")}`
