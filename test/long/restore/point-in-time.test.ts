import { execFile } from "node:child_process"
import { createHash } from "node:crypto"
import { appendFileSync, readFileSync, writeFileSync } from "node:fs"
import { chmod, chown, mkdir, mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest"
import { freePort } from "../../../src/local/machine/ports.ts"
import { type NeonEndpoint, startNeonEndpoint } from "../../../src/local/neon/endpoint.ts"
import { migrate } from "../../../src/local/postgres/migrate.ts"
import { type LocalPostgres, startPostgres } from "../../../src/local/postgres/postgres.ts"
import { serverUser } from "../../../src/local/postgres/server.ts"
import { createServiceLogin } from "../../../src/local/postgres/service-login.ts"
import { waitFor } from "../../setup/hooks/wait-for.ts"
import { debianVersion } from "../../setup/postgres/versions.ts"
import { runQueuedBundle } from "../../setup/queued-bundle.ts"
import { queryAt } from "../../setup/rig.ts"
import { type Receiver, startReceiver } from "../../setup/vitest/receiver.ts"

const programs = debianVersion()?.programs

const PAGE = readFileSync(new URL("../../../docs/operate.md", import.meta.url), "utf8")
/** The statement of "A restore to an earlier time" that keeps ids from being given again. */
const SKIP_IDS = /```sql\n(select setval\([\s\S]*?)```/.exec(PAGE)?.[1] ?? ""

const EVERY_MINUTE = "* * * * *"
const ROOT_KEY = "root"
const API_KEYS = JSON.stringify([
  {
    name: "root",
    scopes: ["ingest", "read", "bridge", "admin"],
    sha256: createHash("sha256").update(ROOT_KEY).digest("hex"),
  },
])

interface Answer {
  status: number
  // biome-ignore lint/suspicious/noExplicitAny: answers of many routes
  body: any
}

/** A service on one of the two servers. */
async function serviceOn(owner: string, endpoint: NeonEndpoint) {
  const service = await runQueuedBundle(inject("bundle"), {
    DATABASE_URL: await createServiceLogin(owner),
    DATABASE_HTTP_ENDPOINT: endpoint.url,
    API_KEYS,
    SUBSCRIPTION_SECRET: "a-secret-of-the-tests-for-sealing-only",
    SUBSCRIPTION_LOCAL_RECEIVERS: "true",
  })
  const call = async (
    method: string,
    path: string,
    { body, key = ROOT_KEY, headers = {} }: { body?: unknown; key?: string; headers?: object } = {},
  ): Promise<Answer> => {
    const response = await fetch(`${service.address}${path}`, {
      method,
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}`, ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    return { status: response.status, body: await response.json().catch(() => undefined) }
  }
  return {
    service,
    call,
    /** Stores two signals under a key, each with a dedupe key. */
    async send(name: string) {
      const signals = [0, 1].map((index) => ({
        context_window_id: "c",
        raw_content: `${name} ${index}`,
        dedupe_key: `${name} ${index}`,
        user_id: `user of ${name}`,
      }))
      const { status, body } = await call("POST", "/api/signals/batch", {
        body: { signals },
        headers: { "Idempotency-Key": encodeURIComponent(name) },
      })
      expect(status, JSON.stringify(body)).toBe(200)
      return body as { transaction_id: string; results: { signal_id: number; duplicate?: boolean }[] }
    },
    feed: (cursor = "") =>
      call("GET", `/api/signals/feed${cursor && `?after=${encodeURIComponent(cursor)}`}`),
  }
}

type Service = Awaited<ReturnType<typeof serviceOn>>

const contents = ({ body }: Answer) =>
  body.signals.map((signal: { raw_content: string }) => signal.raw_content)

// Only Debian's package "postgresql" has pg_basebackup.
describe.skipIf(!programs)("a restore to an earlier time, of a base backup and the archived WAL", () => {
  const stops: (() => Promise<unknown>)[] = []
  let receiver: Receiver
  let former: Service
  let restored: Service
  let owner: string
  /** What the former server knew at the time of the restore, and what only later. */
  const at = {} as { cursor: string; batch: string; revokedLater: string; revokedId: string }
  const later = {} as { cursor: string; batch: string; key: string; ids: number[] }
  /** What the subscription got of the former server after the time of the restore, of what it had before. */
  let deliveredLater: { id: string; body: string }[]
  /** How many calls the former server made. */
  let deliveredBefore: number

  const calls = () =>
    receiver.calls("all").map(({ headers, body }) => ({ id: headers["webhook-id"] ?? "", body }))

  /** The contents that were delivered by the calls from this one on. */
  const delivered = (from: number): string[] =>
    calls()
      .slice(from)
      .flatMap(({ body }) => JSON.parse(body).signals.map((one: { raw_content: string }) => one.raw_content))

  const makeKey = async (name: string) =>
    (await former.call("POST", "/api/keys", { body: { name, scopes: ["ingest"] } })).body as {
      id: string
      key: string
    }

  /** Whether the service knows a key. */
  const isKnown = async ({ call }: Service, key: string) =>
    (await call("POST", "/api/signals/batch", { body: { signals: [] }, key })).status

  beforeAll(async () => {
    const user = process.getuid?.() === 0 ? await serverUser({ create: true }) : undefined
    const folder = await mkdtemp(join(tmpdir(), "signal-ingest-point-in-time-"))
    await chmod(folder, 0o755)
    const archive = join(folder, "archive")
    await mkdir(archive)
    if (user) for (const path of [folder, archive]) await chown(path, user.uid, user.gid)
    stops.unshift(() => rm(folder, { recursive: true, force: true }))
    receiver = await startReceiver()
    const endpoint = await startNeonEndpoint()
    stops.unshift(
      () => receiver.stop(),
      () => endpoint.stop(),
    )
    const serve = async (url: string) => {
      const started = await serviceOn(url, endpoint)
      stops.unshift(() => started.service.stop())
      return started
    }

    const postgres = await startPostgres(join(folder, "former"), { programs })
    stops.unshift(() => postgres.stop())
    await queryAt(postgres.url, "alter system set archive_mode = on")
    await queryAt(postgres.url, `alter system set archive_command = 'cp %p ${archive}/%f'`)
    await postgres.stop()
    await postgres.restart()
    await migrate(postgres.url)
    former = await serve(postgres.url)
    await former.send("before the backup")
    // The backup reads every file of the folder as the server's user.
    if (user) await chown(join(folder, "former", "superuser-password"), user.uid, user.gid)
    await backUp(postgres, join(folder, "restored"), user)

    const subscription = { name: "all", url: receiver.at("all"), filter: {} }
    expect((await former.call("POST", "/api/subscriptions", { body: subscription })).status).toBe(201)
    const revoked = await makeKey("revoked-later")
    Object.assign(at, { revokedLater: revoked.key, revokedId: revoked.id })
    at.batch = (await former.send("at the time")).transaction_id
    at.cursor = (await former.feed()).body.next_cursor
    await queryAt(postgres.url, "select pg_create_restore_point('earlier')")

    // Stored before the time, and delivered after it.
    await former.service.runCron(EVERY_MINUTE)
    await waitFor(() => expect(calls()).toHaveLength(1))
    deliveredLater = calls()
    const sent = await former.send("later")
    later.batch = sent.transaction_id
    later.ids = sent.results.map(({ signal_id }) => signal_id)
    later.cursor = (await former.feed()).body.next_cursor
    await former.call("DELETE", `/api/keys/${at.revokedId}`)
    later.key = (await makeKey("made-later")).key
    const { body: erasure } = await former.call("POST", "/api/erasures", {
      body: { user_id: "user of before the backup" },
    })
    await waitFor(async () =>
      expect((await former.call("GET", `/api/erasures/${erasure.id}`)).body.state).toBe("done"),
    )
    await queryAt(postgres.url, "select pg_switch_wal()")
    await former.service.stop()
    deliveredBefore = calls().length
    // Its stop waits until the archive has everything.
    await postgres.stop()

    const data = join(folder, "restored")
    appendFileSync(
      join(data, "postgresql.auto.conf"),
      `restore_command = 'cp ${archive}/%f %p'\nrecovery_target_name = 'earlier'\nrecovery_target_action = 'promote'\n`,
    )
    writeFileSync(join(data, "recovery.signal"), "")
    const server = await startPostgres(data, { programs, port: await freePort() })
    stops.unshift(() => server.stop())
    owner = server.url
    restored = await serve(owner)
  })
  afterAll(async () => {
    for (const stop of stops) await stop()
  })

  it("needs no migration, and has what was stored until then", async () => {
    expect(await migrate(owner)).toEqual([])
    expect((await restored.call("GET", "/readyz")).status).toBe(200)
    expect(contents(await restored.feed())).toEqual([
      "before the backup 0",
      "before the backup 1",
      "at the time 0",
      "at the time 1",
    ])
  })

  it("brings back what was erased since, and keys that were revoked since, and has no key that was made since", async () => {
    const { body } = await restored.call("GET", "/api/signals?user_id=user%20of%20before%20the%20backup")
    expect(body.signals).toHaveLength(2)
    expect([await isKnown(restored, at.revokedLater), await isKnown(restored, later.key)]).toEqual([200, 401])
    const { body: page } = await restored.call("GET", "/api/keys")
    expect(page.keys.map(({ name, state }: { name: string; state: string }) => [name, state])).toEqual([
      ["revoked-later", "active"],
    ])
  })

  it("delivers again what a subscription got since, under the same webhook-id", async () => {
    await restored.service.runCron(EVERY_MINUTE)
    await expect.poll(() => calls().slice(deliveredBefore)).toEqual(deliveredLater)
  })

  it("refuses the cursor of a reader that was further, and goes on from one that was not", async () => {
    expect((await restored.feed(later.cursor)).status).toBe(422)
    expect(contents(await restored.feed(at.cursor))).toEqual([])
  })

  it("does not give the ids of lost signals to others, after the statement of docs/operate.md", async () => {
    const [jumped] = await queryAt<{ setval: string }>(owner, SKIP_IDS)
    expect(Number(jumped?.setval)).toBeGreaterThan(Math.max(...later.ids))
    const { results } = await restored.send("after the restore")
    expect(Math.min(...results.map(({ signal_id }) => signal_id))).toBeGreaterThan(Math.max(...later.ids))
  })

  it("answers a batch of before from the ledger, and stores one that was lost anew", async () => {
    expect((await restored.send("at the time")).transaction_id).toBe(at.batch)
    expect((await restored.call("GET", `/api/batches/${later.batch}`)).status).toBe(404)
    const again = await restored.send("later")
    expect(again.transaction_id).not.toBe(later.batch)
    expect(again.results.map(({ duplicate }) => duplicate)).toEqual([undefined, undefined])
  })

  it("still refuses the former cursor when its transaction number is in use again", async () => {
    await queryAt(
      owner,
      "do $$ begin for i in 1..500 loop perform pg_current_xact_id(); commit; end loop; end $$",
    )
    await restored.send("much later")
    expect((await restored.feed(later.cursor)).status).toBe(422)
    expect(contents(await restored.feed(at.cursor))).toEqual([
      "after the restore 0",
      "after the restore 1",
      "later 0",
      "later 1",
      "much later 0",
      "much later 1",
    ])
  })

  it("delivers what came after the restore, each signal once", async () => {
    await expect
      .poll(async () => {
        await restored.service.runCron(EVERY_MINUTE)
        return delivered(deliveredBefore + deliveredLater.length)
      })
      .toEqual([
        "after the restore 0",
        "after the restore 1",
        "later 0",
        "later 1",
        "much later 0",
        "much later 1",
      ])
  })

  it("passes the audit", async () => {
    for (const part of ["signals", "batches", "keys"])
      expect((await restored.call("GET", `/api/audit?part=${part}`)).body).toMatchObject({
        mismatches: [],
        next_cursor: null,
      })
  })
})

/** Takes a base backup, as the user of the server. */
async function backUp(
  { url }: LocalPostgres,
  into: string,
  user: { uid: number; gid: number } | undefined,
): Promise<void> {
  const options = ["--dbname", url, "--pgdata", into, "--wal-method=none"]
  await promisify(execFile)(join(programs ?? "", "pg_basebackup"), options, { ...user, cwd: tmpdir() })
}
