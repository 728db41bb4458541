import { execFile } from "node:child_process"
import { chmod, copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { promisify } from "node:util"
import { bundleCommandLine } from "./command-line.ts"

/**
 * `npm run build:package`: builds the published package in dist/package, with the library as modules and the
 * command line as one file.
 */

const ROOT = join(import.meta.dirname, "..")
const TARGET = join(ROOT, "dist/package")

const { version, license, description } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8"))

const entry = (name: string) => ({ types: `./client/${name}.d.ts`, default: `./client/${name}.js` })

const MANIFEST = {
  name: "signal-ingest",
  version,
  description: `${description} The client library and the importer.`,
  license,
  type: "module",
  // The first Node versions with `crc32` in node:zlib, which the spool needs.
  engines: { node: "^20.15.0 || >=22.2.0" },
  exports: { "./client": entry("index"), "./client/spool": entry("spool/spool") },
  bin: { signals: "./cli/signals.js" },
  sideEffects: false,
}

await rm(TARGET, { recursive: true, force: true })
await mkdir(TARGET, { recursive: true })
await promisify(execFile)(
  process.execPath,
  [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.package.json"],
  {
    cwd: ROOT,
  },
)
// The compiler rewrites the file endings in scripts, but not in declarations.
for (const name of await readdir(join(TARGET, "client"), { recursive: true })) {
  if (!name.endsWith(".d.ts")) continue
  const path = join(TARGET, "client", name)
  await writeFile(path, (await readFile(path, "utf8")).replace(/(from "\.{1,2}\/[\w/-]+)\.ts"/g, '$1.js"'))
}
const metafile = await bundleCommandLine({ file: join(TARGET, "cli/signals.js") })
await chmod(join(TARGET, "cli/signals.js"), 0o755)
await writeFile(join(TARGET, "NOTICES"), await noticesOf(Object.keys(metafile.inputs)))
await writeFile(join(TARGET, "package.json"), `${JSON.stringify(MANIFEST, null, 2)}\n`)
await copyFile(join(ROOT, "LICENSE"), join(TARGET, "LICENSE"))
await writeFile(join(TARGET, "README.md"), await readFile(join(ROOT, "docs/client.md"), "utf8"))

/**
 * The licenses of the packages in the command line's one file, which ask for their text in every copy.
 *
 * @param inputs paths of the bundled files, below the root
 * @throws a package has no license text
 */
async function noticesOf(inputs: readonly string[]): Promise<string> {
  const folders = inputs.flatMap((path) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? [])
  const notices = await Promise.all([...new Set(folders)].sort().map(noticeOf))
  return `The command line in cli/signals.js contains these packages.\n\n${notices.join("\n")}`
}

async function noticeOf(folder: string): Promise<string> {
  const manifest = JSON.parse(await readFile(join(ROOT, folder, "package.json"), "utf8"))
  const names = await readdir(join(ROOT, folder))
  const texts = names.filter((name) => /^(licen[cs]e|copying|notice)/i.test(name))
  const rule = "-".repeat(80)
  const head = `${rule}\n${manifest.name} ${manifest.version}, license: ${manifest.license}\n`
  if (texts.length > 0) {
    const bodies = await Promise.all(texts.map((name) => readFile(join(ROOT, folder, name), "utf8")))
    return `${head}\n${bodies.map((text) => text.trim()).join("\n\n")}\n`
  }
  // Some packages name their license and their author only in package.json.
  const author = typeof manifest.author === "string" ? manifest.author : manifest.author?.name
  if (!manifest.license || !author) throw new Error(`${folder} has neither a license text nor an author.`)
  return `${head}Copyright: ${author}\n`
}
