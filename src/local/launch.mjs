// Plain JavaScript: an older Node cannot read the TypeScript files.
import module from "node:module"
import { fileURLToPath } from "node:url"

const [major, minor] = process.versions.node.split(".").map(Number)
if (major < 22 || (major === 22 && minor < 18)) {
  console.error(
    `This is Node ${process.versions.node}, but the project needs 22.18 or newer. Run npm ci --include=optional, which installs one, or use your own.`,
  )
  process.exitCode = 1
} else {
  // Compilation takes half of a start. The cache is below node_modules, where no other user can write, since
  // Node runs what it reads there.
  process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL("../../node_modules/.cache/node", import.meta.url))
  module.enableCompileCache(process.env.NODE_COMPILE_CACHE)
  // Until start.ts listens too, nothing runs that has to be stopped. npm would report any other exit code.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"])
    process.on(signal, () => process.listenerCount(signal) > 1 || process.exit(0))
  await import("./start.ts")
}
