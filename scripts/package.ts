import { execFile } from "node:child_process"
import { chmod, copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { promisify } from "node:util"
import { build } from "esbuild"

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
await build({
  absWorkingDir: ROOT,
  entryPoints: ["src/cli/main.ts"],
  outfile: join(TARGET, "cli/signals.js"),
  bundle: true,
  platform: "node",
  target: "node22",
  format: "esm",
  minifySyntax: true,
  logLevel: "warning",
  // An optional native part of pg, which this project does not use.
  external: ["pg-native"],
  // The bundled CommonJS packages load Node's own modules with `require`.
  banner: {
    js: 'import { createRequire as require_ } from "node:module"; const require = require_(import.meta.url);',
  },
})
await chmod(join(TARGET, "cli/signals.js"), 0o755)
await writeFile(join(TARGET, "package.json"), `${JSON.stringify(MANIFEST, null, 2)}\n`)
await copyFile(join(ROOT, "LICENSE"), join(TARGET, "LICENSE"))
await writeFile(join(TARGET, "README.md"), await readFile(join(ROOT, "docs/client.md"), "utf8"))
