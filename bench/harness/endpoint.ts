import { startNeonEndpoint } from "../../src/local/neon/endpoint.ts"

/**
 * Runs the local Neon endpoint in a separate process, as the database does in production. It ends with its
 * parent.
 */
const endpoint = await startNeonEndpoint()

process.on("message", ({ latencyMs }: { latencyMs: number }) => {
  endpoint.faults.latencyMs = latencyMs
  process.send?.("set")
})
process.once("disconnect", () => process.exit())
// Ctrl-C reaches every process at the terminal. This one must run until its parent has finished.
process.on("SIGINT", () => {})
process.send?.(endpoint.url)
