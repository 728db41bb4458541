import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { migrate } from "../../../../src/local/postgres/migrate.ts"
import { type LocalPostgres, startTemporaryPostgres } from "../../../../src/local/postgres/postgres.ts"
import { createServiceLogin } from "../../../../src/local/postgres/service-login.ts"
import { queryAt } from "../../../setup/rig.ts"

let postgres: LocalPostgres
let login: string

beforeAll(async () => {
  postgres = await startTemporaryPostgres()
  await migrate(postgres.url)
  login = await createServiceLogin(postgres.url)
})
afterAll(() => postgres?.stop())

describe("the login of the service", () => {
  it("is not a superuser, creates nothing and owns nothing", async () => {
    expect(
      await queryAt(
        login,
        "select rolsuper, rolcreaterole, rolcreatedb, rolbypassrls from pg_roles where rolname = current_user",
      ),
    ).toEqual([{ rolsuper: false, rolcreaterole: false, rolcreatedb: false, rolbypassrls: false }])
    expect(
      await queryAt(login, "select relname from pg_class where pg_has_role(relowner, 'member')"),
    ).toEqual([])
  })

  it.each([
    "drop table signals",
    "truncate batches",
    "delete from dedupe_keys",
    "update signals set raw_content = ''",
    "update batches set caller = ''",
    "update dead_letters set caller = ''",
    "alter table signals add column mine text",
    "create table mine (id int)",
    "create function mine() returns int language sql as 'select 1'",
    "select setval('signals_id_seq', 1)",
    "select * from drizzle.__drizzle_migrations",
    "copy (select 1) to program 'true'",
    "select pg_read_file('PG_VERSION')",
    "alter system set work_mem = '1GB'",
    "set role postgres",
  ])("must not %s", async (statement) => {
    await expect(queryAt(login, statement)).rejects.toMatchObject({ code: "42501" })
  })

  it("gets a new password each time, and the former one becomes invalid", async () => {
    const former = login
    login = await createServiceLogin(postgres.url)
    expect(await queryAt(login, "select 1 as one")).toEqual([{ one: 1 }])
    await expect(queryAt(former, "select 1")).rejects.toMatchObject({ code: "28P01" })
  })
})

describe("the migration of the group role", () => {
  it("keeps the role where another database of the cluster has created it", async () => {
    await queryAt(postgres.url, "create database second")
    const second = Object.assign(new URL(postgres.url), { pathname: "/second" }).href
    await migrate(second)
    const other = await createServiceLogin(second)
    expect(await queryAt(other, "select count(*)::int as count from signals")).toEqual([{ count: 0 }])
  })

  it("needs no right to create roles where the role exists", async () => {
    const url = await plainMigrator(postgres.url)
    await migrate(url)
    expect(
      await queryAt(
        url,
        "select has_table_privilege('signal_ingest_writer', 'signals', 'insert') as granted",
      ),
    ).toEqual([{ granted: true }])
  })

  it("says what an administrator has to do where the migrator may not create it", async () => {
    const fresh = await startTemporaryPostgres()
    const url = await plainMigrator(fresh.url)
    await expect(migrate(url)).rejects.toThrow(
      /Run "create role signal_ingest_writer nologin" as an administrator/,
    )
    await queryAt(fresh.url, "create role signal_ingest_writer nologin")
    expect(await migrate(url)).not.toEqual([])
    await fresh.stop()
  })
})

/** A database of its own for a migrator that owns it and may create no roles. */
async function plainMigrator(ownerUrl: string): Promise<string> {
  await queryAt(ownerUrl, "create role plain login password 'plain'")
  await queryAt(ownerUrl, "create database plain owner plain")
  return Object.assign(new URL(ownerUrl), { pathname: "/plain", username: "plain", password: "plain" }).href
}
