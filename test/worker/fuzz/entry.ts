import { type Outcome, type Run, runSuite } from "../../setup/fuzz/check.ts"
import { BRIDGE_SUITES } from "./bridges.ts"
import { REQUEST_SUITES } from "./requests.ts"
import { SIGNAL_SUITES } from "./signals.ts"

const SUITES = { ...SIGNAL_SUITES, ...REQUEST_SUITES, ...BRIDGE_SUITES }

/**
 * A Worker that feeds the service's own parsers, in the runtime that they are made for. GET: the names of its
 * suites. POST: a run.
 */
export default {
  async fetch(request: Request): Promise<Response> {
    if (request.method === "GET") return Response.json(Object.keys(SUITES))
    const { name, ...run } = (await request.json()) as Run & { name: string }
    const found = SUITES[name]
    if (!found) return new Response("no such suite", { status: 404 })
    const outcome: Outcome = await runSuite(found, run)
    return Response.json(outcome)
  },
}
