import { createHash } from "node:crypto"
import { stat } from "node:fs/promises"
import { basename, resolve } from "node:path"
import { UsageError } from "../usage.ts"
import { unknownField } from "./columns.ts"
import { openCsv } from "./csv.ts"
import { openJsonl } from "./jsonl.ts"
import { openSlackExport } from "./slack-export.ts"
import type { Source } from "./source.ts"
import { openSql } from "./sql.ts"

/** A source as the command line names it. */
export type SourceRequest =
  | { kind: "slack"; path: string; team?: string | undefined }
  | { kind: "sql"; from: string; query: string; map?: Record<string, string> | undefined }
  | { kind: "jsonl"; path: string }
  | { kind: "csv"; path: string; map?: Record<string, string> | undefined; delimiter: string }

export interface OpenedSource {
  source: Source
  /** For people, and for the name of the state file. */
  name: string
  /** Tells this source in this state from any other. */
  fingerprint: string
}

/** @throws {UsageError} there is no such source, or `map` names no field of a signal */
export async function openSource(request: SourceRequest): Promise<OpenedSource> {
  const map = ("map" in request && request.map) || {}
  const wrong = unknownField(map)
  if (wrong !== undefined) throw new UsageError(`--map: a signal has no field "${wrong}".`)
  const { kind } = request
  if (kind === "sql") {
    const { from, query } = request
    const { host, pathname } = parseUrl(from)
    return {
      source: openSql({ from, query, map }),
      name: `sql${pathname}`,
      fingerprint: told({ kind, host, pathname, query, map }),
    }
  }
  const file = await fileOf(request.path)
  const settings = kind === "csv" ? { map, delimiter: request.delimiter } : { team: kind === "slack" ? request.team : undefined }
  return {
    source: await openFile(request, map),
    name: basename(request.path),
    fingerprint: told({ kind, ...file, ...settings }),
  }
}

async function openFile(request: Exclude<SourceRequest, { kind: "sql" }>, map: Record<string, string>): Promise<Source> {
  switch (request.kind) {
    case "slack":
      return openSlackExport(request.path, { team: request.team })
    case "jsonl":
      return openJsonl(request.path)
    case "csv":
      return openCsv(request.path, { map, delimiter: request.delimiter })
  }
}

/** A file that has another size or was changed since is another source. Standard input can't be told from any other. */
async function fileOf(path: string): Promise<Record<string, unknown>> {
  if (path === "-") return { path, at: Date.now() }
  const found = await stat(path).catch(() => {
    throw new UsageError(`${path} can't be read: there is no such file or folder.`)
  })
  return { path: resolve(path), ...(found.isFile() && { bytes: found.size, changedMs: found.mtimeMs }) }
}

function parseUrl(text: string): URL {
  const url = URL.parse(text)
  if (!url || !/^postgres(ql)?:$/.test(url.protocol))
    throw new UsageError("--from must be postgres://user:password@host/database.")
  return url
}

/** Holds no password, and is no longer than it has to be. */
const told = (facts: Record<string, unknown>) => `sha256:${createHash("sha256").update(JSON.stringify(facts)).digest("hex")}`
