import { createHash, randomUUID } from "node:crypto"
import { stat } from "node:fs/promises"
import { basename, resolve } from "node:path"
import { UsageError } from "../terminal/errors.ts"
import { openJsonl } from "./jsonl.ts"
import type { Source } from "./reading/source.ts"
import { unknownField } from "./rows/columns.ts"
import { FIELDS_OF, type Imported } from "./rows/convert.ts"
import { openCsv } from "./rows/csv.ts"
import { openSql } from "./rows/sql.ts"
import { filesOfFolder, type HistoryFile } from "./slack/files.ts"
import { openSlackHistory } from "./slack/history.ts"

/** A source as given on the command line. */
export type SourceRequest =
  | { kind: "slack"; path: string; team?: string | undefined; followEdits?: boolean | undefined }
  | { kind: "sql"; from: string; query: string; map?: Record<string, string> | undefined }
  | { kind: "jsonl"; path: string }
  | { kind: "csv"; path: string; map?: Record<string, string> | undefined; delimiter: string }
  | { kind: "parquet"; path: string; map?: Record<string, string> | undefined }

/** Sources of scores are tables and JSON lines. */
export type ScoresRequest = Extract<SourceRequest, { kind: "sql" | "jsonl" | "csv" }>

export interface OpenedSource {
  source: Source
  /** For people, and for the name of the state file. */
  name: string
  kind: SourceRequest["kind"]
  /** Identifies the place of the source: a path, or a query. What is in it may change. */
  fingerprint: string
}

/** @throws {UsageError} the source does not exist, or `map` has a name that is not a field of a signal */
export async function openSource(
  request: SourceRequest,
  imported: Imported = "signals",
): Promise<OpenedSource> {
  const map = ("map" in request && request.map) || {}
  const wrong = unknownField(map, imported)
  if (wrong !== undefined)
    throw new UsageError(
      `--map: a ${imported === "scores" ? "score" : "signal"} has no field "${wrong}". The fields are: ${[...FIELDS_OF[imported]].join(", ")}.`,
    )
  const { kind } = request
  if (kind === "sql") {
    const { from, query } = request
    const { host, pathname } = parseUrl(from)
    return {
      source: openSql({ from, query, map, imported }),
      name: `sql${pathname}`,
      kind,
      fingerprint: fingerprintOf({ kind, host, pathname, query, ...ofScores(imported) }),
    }
  }
  const { path } = request
  const folder = await folderAt(path)
  if (kind === "parquet" && path === "-")
    throw new UsageError("parquet is read from a file, since its description is at its end. Name one.")
  if (folder && kind !== "slack") throw new UsageError(`${path} is a folder. import ${kind} takes a file.`)
  return {
    source: await openPath(request, { map, folder, imported }),
    name: basename(path),
    kind,
    // Each run of standard input is a new source.
    fingerprint: fingerprintOf({
      kind,
      path: path === "-" ? randomUUID() : resolve(path),
      ...ofScores(imported),
    }),
  }
}

async function openPath(
  request: Exclude<SourceRequest, { kind: "sql" }>,
  {
    map,
    folder,
    imported,
  }: { map: Record<string, string>; folder: HistoryFile[] | undefined; imported: Imported },
): Promise<Source> {
  const { path } = request
  if (request.kind === "slack")
    return openSlackHistory(path, { team: request.team, followEdits: request.followEdits, folder })
  if (request.kind === "jsonl") return openJsonl(path, imported)
  if (request.kind === "parquet") {
    // Few imports need it, and it takes a while to load.
    const { openParquet } = await import("./rows/parquet.ts")
    return openParquet(path, { map })
  }
  return openCsv(path, { map, delimiter: request.delimiter, imported })
}

/**
 * Returns the files of a folder; undefined for a file and for standard input.
 *
 * @throws {UsageError} the path does not exist, or is neither a file nor a folder
 */
async function folderAt(path: string): Promise<HistoryFile[] | undefined> {
  if (path === "-") return undefined
  const found = await stat(path).catch(() => {
    throw new UsageError(`${path} cannot be read: there is no such file or folder.`)
  })
  if (found.isFile()) return undefined
  if (!found.isDirectory())
    throw new UsageError(`${path} is neither a file nor a folder. Use - for standard input.`)
  return await filesOfFolder(path)
}

/** The same file as scores is another source. */
const ofScores = (imported: Imported) => (imported === "scores" ? { imported } : {})

function parseUrl(text: string): URL {
  const url = URL.parse(text)
  if (!url || !/^postgres(ql)?:$/.test(url.protocol))
    throw new UsageError("--from must be postgres://user:password@host/database.")
  return url
}

/** Returns a digest: a state file must hold no query and stay short. */
const fingerprintOf = (facts: Record<string, unknown>) =>
  `sha256:${createHash("sha256").update(JSON.stringify(facts)).digest("hex")}`
