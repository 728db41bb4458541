import { openAgent, postUntilStored } from "./http.ts"
import { makeBatches, makeSignals } from "./signals.ts"
import { inTurns, type Subject } from "./subject.ts"

/** POST /api/signals/batch */
export function batchRoute(address: string, size: number, callers: number): Subject {
  const bodies = makeBatches(size).map((signals) => Buffer.from(JSON.stringify({ signals })))
  return route(`${address}/api/signals/batch`, bodies, 200, callers)
}

/** POST /api/signals, one signal a request */
export function singleRoute(address: string, callers: number): Subject {
  const bodies = makeSignals(100).map((signal) => Buffer.from(JSON.stringify(signal)))
  return route(`${address}/api/signals`, bodies, 201, callers)
}

function route(url: string, bodies: readonly Buffer[], status: number, callers: number): Subject {
  const agent = openAgent(callers)
  const next = inTurns(bodies)
  return {
    async send() {
      await postUntilStored(agent, url, next(), status)
    },
    async close() {
      agent.destroy()
    },
  }
}
