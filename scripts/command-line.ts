import { join } from "node:path"
import { build, type Metafile } from "esbuild"

const ROOT = join(import.meta.dirname, "..")

/**
 * Bundles the command line and its packages.
 *
 * @param to the path of one file; or a folder, for `main.js` and the parts that a command loads when it needs
 *   them
 * @returns what the bundle is made of, with paths below the root
 */
export async function bundleCommandLine(to: { file: string } | { folder: string }): Promise<Metafile> {
  const { metafile } = await build({
    ...("file" in to ? { outfile: to.file, minifySyntax: true } : { outdir: to.folder, splitting: true }),
    absWorkingDir: ROOT,
    metafile: true,
    entryPoints: ["src/cli/main.ts"],
    bundle: true,
    platform: "node",
    target: "node22",
    format: "esm",
    logLevel: "warning",
    // It has its WebAssembly inside, where the other one reads a file beside itself.
    alias: { "@platformatic/wasm-utils": "@platformatic/wasm-utils/bundled" },
    // An optional native part of pg, which this project does not use.
    external: ["pg-native"],
    // The bundled CommonJS packages load Node's own modules with `require`.
    banner: {
      js: 'import { createRequire as require_ } from "node:module"; const require = require_(import.meta.url);',
    },
  })
  return metafile
}
