import { createHash } from "node:crypto"
import { stat } from "node:fs/promises"
import { basename, resolve } from "node:path"
import { readMap } from "../options.ts"
import { UsageError } from "../usage.ts"
import { unknownField } from "./columns.ts"
import { openCsv } from "./csv.ts"
import { openJsonl } from "./jsonl.ts"
import { openSlackExport } from "./slack-export.ts"
import type { Source } from "./source.ts"
import { openSql } from "./sql.ts"

/** What the kinds of sources are told on the command line. */
export const SOURCE_OPTIONS = {
  team: { type: "string" },
  from: { type: "string" },
  query: { type: "string" },
  map: { type: "string", multiple: true },
  delimiter: { type: "string", default: "," },
} as const

export interface SourceValues {
  team?: string | undefined
  from?: string | undefined
  query?: string | undefined
  map?: string[] | undefined
  delimiter: string
}

export interface OpenedSource {
  source: Source
  /** For people, and for the name of the state file. */
  name: string
  /** Tells this source in this state from any other. */
  fingerprint: string
}

/** Opens what `import KIND ARGUMENT...` and `verify KIND ARGUMENT...` speak of. Throws `UsageError`. */
export async function openSource(kind: string, positionals: readonly string[], values: SourceValues): Promise<OpenedSource> {
  const map = readMap(values.map) ?? {}
  const wrong = unknownField(map)
  if (wrong !== undefined) throw new UsageError(`--map: ${wrong} is no field of a signal.`)
  if (kind === "sql") {
    if (positionals.length > 0) throw new UsageError(`${positionals[0]} is one too many: import sql takes --from and --query.`)
    const { from, query } = values
    if (!from || !query) throw new UsageError("import sql needs --from postgres://... and --query SQL.")
    const { host, pathname } = parseUrl(from)
    return {
      source: openSql({ from, query, map }),
      name: `sql${pathname}`,
      fingerprint: told({ kind, host, pathname, query, map }),
    }
  }
  const [path, ...more] = positionals
  if (path === undefined) throw new UsageError(`import ${kind} needs a file.`)
  if (more.length > 0) throw new UsageError(`${more[0]} is one too many: one file at a time.`)
  const file = await fileOf(path)
  const settings = kind === "csv" ? { map, delimiter: values.delimiter } : { team: values.team }
  return {
    source: await openFile(kind, path, values, map),
    name: basename(path),
    fingerprint: told({ kind, ...file, ...settings }),
  }
}

async function openFile(kind: string, path: string, values: SourceValues, map: Record<string, string>): Promise<Source> {
  switch (kind) {
    case "slack":
      return openSlackExport(path, { team: values.team })
    case "jsonl":
      return openJsonl(path)
    case "csv":
      return openCsv(path, { map, delimiter: values.delimiter })
    default:
      throw new UsageError(`${kind} is no kind of source: slack, sql, jsonl or csv.`)
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
