import { randomBytes } from "node:crypto"
import { Client, escapeIdentifier, escapeLiteral } from "pg"
import { keptPassword } from "./data-folder.ts"

const LOGIN = "signal_ingest"

/**
 * The longest time of one statement of the service, also when nobody waits for its answer any more and it was
 * not cancelled. It ends when it is known that a batch in doubt will not be stored any more. No statement of
 * the service is given more than a minute.
 */
const LONGEST_STATEMENT = "set statement_timeout = '2min'"

/**
 * Creates the login that the service uses, or gives it a new password: a member of `signal_ingest_writer`,
 * which owns nothing.
 *
 * @param ownerUrl connection string of a role that may create roles, in a migrated database
 * @returns the connection string of the login
 */
export async function createServiceLogin(ownerUrl: string): Promise<string> {
  // Only letters and digits: the statement takes no parameter here, so the password becomes part of its text.
  const password = randomBytes(24).toString("hex")
  const client = new Client({ connectionString: ownerUrl })
  await client.connect()
  try {
    const { rowCount } = await client.query("select from pg_roles where rolname = $1", [LOGIN])
    await client.query(
      rowCount === 0
        ? `create role ${LOGIN} login password '${password}' in role signal_ingest_writer`
        : `alter role ${LOGIN} password '${password}'`,
    )
    await client.query(`alter role ${LOGIN} ${LONGEST_STATEMENT}`)
  } finally {
    await client.end()
  }
  const url = new URL(ownerUrl)
  url.username = LOGIN
  url.password = password
  return url.href
}

/** The role that holds the service's privileges; a migration creates it. */
const WRITER = "signal_ingest_writer"

/** The service's own role on this machine. It is not a superuser, and owns nothing. */
const LOCAL_LOGIN = "signal_ingest_local"

/**
 * Creates the role that the service logs in with. Its password stays the same for a data folder.
 *
 * @returns its connection string
 */
export async function makeLogin(ownerUrl: string, dataDir: string): Promise<string> {
  const password = await keptPassword(dataDir, LOCAL_LOGIN, () => randomBytes(18).toString("base64url"))
  const client = new Client({ connectionString: ownerUrl })
  await client.connect()
  try {
    const { rows } = await client.query("select from pg_roles where rolname = $1", [LOCAL_LOGIN])
    const [login, writer] = [escapeIdentifier(LOCAL_LOGIN), escapeIdentifier(WRITER)]
    await client.query(
      `${rows.length > 0 ? "alter" : "create"} role ${login} login password ${escapeLiteral(password)}`,
    )
    await client.query(`grant ${writer} to ${login}`)
    await client.query(`alter role ${login} ${LONGEST_STATEMENT}`)
  } finally {
    await client.end()
  }
  return Object.assign(new URL(ownerUrl), { username: LOCAL_LOGIN, password }).href
}
