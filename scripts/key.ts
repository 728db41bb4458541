import { createHash, randomBytes } from "node:crypto"
import { parseArgs } from "node:util"
import { StartupError } from "../src/local/startup-error.ts"

const USAGE = "npm run key -- NAME SCOPE...   (scopes: ingest, read)"
const SCOPES = ["ingest", "read"]

/** `npm run key`: makes an API key, and the entry of API_KEYS that lets it in, which holds only its SHA-256. */
try {
  const { positionals } = parseArgs({ allowPositionals: true })
  const [name = "", ...scopes] = positionals
  if (!/^[\w.@-]{1,100}$/.test(name)) throw new StartupError(`Give the key a name of letters, digits or . _ @ -: ${USAGE}`)
  const wrong = scopes.find((scope) => !SCOPES.includes(scope))
  if (scopes.length === 0 || wrong !== undefined)
    throw new StartupError(`${wrong ? `${wrong} is no scope` : "Give it a scope"}: ${USAGE}`)
  const key = randomBytes(32).toString("base64url")
  const entry = { name, sha256: createHash("sha256").update(key).digest("hex"), scopes }
  console.log(`Key, shown this once:  ${key}\nEntry for API_KEYS:    ${JSON.stringify(entry)}`)
} catch (error) {
  console.error(error instanceof StartupError ? error.message : `${(error as Error).message.split(". ")[0]}: ${USAGE}`)
  process.exitCode = 1
}
