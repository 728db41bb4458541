import { expect, it } from "vitest"
import { useRig } from "../../setup/hooks/rig.ts"
import { sendBatch } from "../../setup/rig.ts"

const rig = useRig()

const DISCONNECT = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'signal_ingest'"

/** What an operator may have done, how it is undone, and what the service has to say of it. */
const REFUSALS = [
  {
    when: "its password was changed",
    begin: "alter role signal_ingest password 's3cret'",
    end: () => `alter role signal_ingest password '${new URL(rig.bindings.DATABASE_URL ?? "").password}'`,
    cure: "the role or the password of DATABASE_URL is wrong",
  },
  {
    when: "its role may not log in",
    begin: "alter role signal_ingest nologin",
    end: () => "alter role signal_ingest login",
    cure: "the role of DATABASE_URL is unknown, or may not log in",
  },
  {
    when: "its role lacks its privileges",
    begin: "revoke signal_ingest_writer from signal_ingest",
    end: () => "grant signal_ingest_writer to signal_ingest",
    cure: "the role of DATABASE_URL lacks a privilege: grant it signal_ingest_writer",
  },
  {
    when: "the tables are those of another version",
    begin: "alter table batches rename to former_batches",
    end: () => "alter table former_batches rename to batches",
    cure: "a table is missing: run npm run db:migrate",
  },
]

it.each(REFUSALS)(
  "the log says what to repair when $when, and never a secret",
  async ({ begin, end, cure }) => {
    await rig.query(begin)
    await rig.query(DISCONNECT)
    const logged = rig.service.log.length
    const { status, body } = await sendBatch(rig)
    await rig.query(end())
    expect([status, body.detail]).toEqual([
      503,
      "The database is not ready for this service. Nothing was stored.",
    ])
    await expect.poll(() => rig.service.log.slice(logged).some((line) => line.includes(cure))).toBe(true)
    const log = rig.service.log.slice(logged).join("\n")
    for (const secret of ["s3cret", new URL(rig.bindings.DATABASE_URL ?? "").password, "postgresql:"])
      expect(log).not.toContain(secret)
  },
)

it.each(REFUSALS.slice(0, 3))(
  "/readyz and its log line name the same reason when $when",
  async ({ begin, end, cure }) => {
    await rig.query(begin)
    await rig.query(DISCONNECT)
    const logged = rig.service.log.length
    const response = await fetch(`${rig.service.address}/readyz`)
    await rig.query(end())
    const detail = `The database is not ready for this service: ${cure}.`
    expect([response.status, await response.json()]).toEqual([503, { detail, code: "database_not_ready" }])
    const line = () => rig.service.log.slice(logged).find((text) => text.includes('"route":"/readyz"'))
    await expect.poll(line).toBeDefined()
    expect(line()).toContain(cure)
    expect((await fetch(`${rig.service.address}/readyz`)).status).toBe(200)
  },
)
