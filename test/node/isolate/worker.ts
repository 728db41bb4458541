import { Group } from "../../../src/isolate/group.ts"
import { StatementGate } from "../../../src/isolate/statement-gate.ts"

const WAIT_MS = 2000
/** Longer than any test. */
const LONGEST_MS = 600_000

const gate = new StatementGate({ running: 1, waiting: 100 })
const group = new Group<string, string>({
  running: 1,
  slowMs: LONGEST_MS,
  items: 100,
  weight: 100,
  waiting: 100,
  turnMs: LONGEST_MS,
})
/** What requests have begun, in order. */
const begun: string[] = []

/** Takes the only turn, and keeps it until its body has arrived: I/O of this very request. */
async function takeTurn(name: string, { body, signal }: Request): Promise<Response> {
  begun.push(`${name} waits`)
  const leave = await gate.enter({ waitMs: WAIT_MS, longestMs: () => LONGEST_MS, ahead: false, signal })
  if (!leave) return new Response(`${name}: no turn`)
  begun.push(`${name} has its turn`)
  const text = await new Response(body).text()
  leave()
  return new Response(`${name}: ${text}`)
}

/** Joins a group, whose leader writes it when the leader's body has arrived. */
async function joinGroup(name: string, answerMs: number, { body, signal }: Request): Promise<Response> {
  begun.push(`${name} joins`)
  const joined = await group.join({
    item: name,
    weight: 1,
    answerBy: Date.now() + answerMs,
    signal,
    async run(names) {
      begun.push(`${name} writes ${names.join(", ")}`)
      const text = await new Response(body).text()
      return names.map((one) => `${one}: ${text} of ${name}`)
    },
  })
  return new Response(typeof joined === "string" ? `${name}: ${joined}` : joined.result)
}

/** A Worker whose requests wait for each other in the lines of `src/isolate/`. */
export default {
  fetch(request: Request): Promise<Response> | Response {
    const { pathname, searchParams } = new URL(request.url)
    const name = searchParams.get("name") ?? ""
    if (pathname === "/turn") return takeTurn(name, request)
    if (pathname === "/join") return joinGroup(name, Number(searchParams.get("ms") ?? LONGEST_MS), request)
    return Response.json(begun.splice(0))
  },
}
