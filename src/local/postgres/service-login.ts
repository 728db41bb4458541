import { randomBytes } from "node:crypto"
import { Client } from "pg"

const LOGIN = "signal_ingest"

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
  } finally {
    await client.end()
  }
  const url = new URL(ownerUrl)
  url.username = LOGIN
  url.password = password
  return url.href
}
