import { randomBytes } from "node:crypto"
import { Client, escapeIdentifier, escapeLiteral } from "pg"
import { keptPassword } from "./data-folder.ts"

/** The role that holds the service's privileges; a migration creates it. */
const WRITER = "signal_ingest_writer"

/** The service's own role on this machine. It is not a superuser, and owns nothing. */
const LOGIN = "signal_ingest_local"

/**
 * Creates the role that the service logs in with. Its password stays the same for a data folder.
 *
 * @returns its connection string
 */
export async function makeLogin(ownerUrl: string, dataDir: string): Promise<string> {
  const password = await keptPassword(dataDir, LOGIN, () => randomBytes(18).toString("base64url"))
  const client = new Client({ connectionString: ownerUrl })
  await client.connect()
  try {
    const { rows } = await client.query("select from pg_roles where rolname = $1", [LOGIN])
    const [login, writer] = [escapeIdentifier(LOGIN), escapeIdentifier(WRITER)]
    await client.query(
      `${rows.length > 0 ? "alter" : "create"} role ${login} login password ${escapeLiteral(password)}`,
    )
    await client.query(`grant ${writer} to ${login}`)
  } finally {
    await client.end()
  }
  return Object.assign(new URL(ownerUrl), { username: LOGIN, password }).href
}
