import { Agent, request } from "node:http"

/** Keeps one connection open for each caller. */
export function openAgent(callers: number): Agent {
  return new Agent({ keepAlive: true, maxSockets: callers })
}

/** Posts a prepared body, reads the whole answer, and throws unless it has `status`. */
export function post(
  agent: Agent,
  url: string,
  body: Buffer,
  status: number,
  more: Record<string, string> = {},
): Promise<Buffer> {
  const headers = { "Content-Type": "application/json", "Content-Length": body.length, ...more }
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent, method: "POST", headers }, (response) => {
      const chunks: Buffer[] = []
      response.on("data", (chunk: Buffer) => chunks.push(chunk))
      response.on("error", reject)
      response.on("end", () => {
        const answer = Buffer.concat(chunks)
        if (response.statusCode === status) resolve(answer)
        else reject(new Error(`${url} answered ${response.statusCode}: ${answer.subarray(0, 500)}`))
      })
    })
    sent.on("error", reject)
    sent.end(body)
  })
}
