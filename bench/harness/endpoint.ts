import { startNeonEndpoint } from "../../src/local/neon/endpoint.ts"

/** The local Neon endpoint in a process of its own, as the database's side is in reality. Ends when its parent does. */
const endpoint = await startNeonEndpoint()

process.on("message", ({ latencyMs }: { latencyMs: number }) => {
  endpoint.faults.latencyMs = latencyMs
  process.send?.("set")
})
process.once("disconnect", () => process.exit())
// Ctrl-C reaches every process at the terminal; the parent ends this one when it has stopped asking.
process.on("SIGINT", () => {})
process.send?.(endpoint.url)
