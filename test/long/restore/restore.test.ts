import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest"
import { type NeonEndpoint, startNeonEndpoint } from "../../../src/local/neon/endpoint.ts"
import { migrate } from "../../../src/local/postgres/migrate.ts"
import { type LocalPostgres, startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"
import { createServiceLogin } from "../../../src/local/postgres/service-login.ts"
import { debianVersion } from "../../setup/postgres/versions.ts"
import { queryAt } from "../../setup/rig.ts"
import { type RunningBundle, runBundle } from "../../setup/workerd.ts"

const programs = debianVersion()?.programs

/** The blocks of "Backup and restore", which an operator runs as they are. */
const PAGE = readFileSync(new URL("../../../docs/operate.md", import.meta.url), "utf8")
const SECTION = PAGE.slice(
  PAGE.indexOf("\n## Backup and restore"),
  PAGE.indexOf("\n## A staging environment"),
)
const [COMMANDS = "", STATEMENT = ""] = [...SECTION.matchAll(/```(?:sh|sql)\n([\s\S]*?)```/g)].map(
  ([, text]) => text,
)

interface Feed {
  signals: { id: number; raw_content: string }[]
  next_cursor: string
}

// Debian's package "postgresql" has the server and the programs of a dump; no package of npm has them.
describe.skipIf(!programs)(
  "a dump that is restored into another server by the commands of docs/operate.md",
  () => {
    const stops: (() => Promise<void>)[] = []
    let endpoint: NeonEndpoint
    let former: LocalPostgres
    let restored: LocalPostgres
    let before: { feed: Feed; batch: string; service: RunningBundle }
    let service: RunningBundle

    const started = async <T extends { stop(): Promise<void> }>(what: Promise<T>): Promise<T> => {
      const one = await what
      stops.unshift(() => one.stop())
      return one
    }

    const serve = async (owner: string) =>
      started(
        runBundle(inject("bundle"), {
          DATABASE_URL: await createServiceLogin(owner),
          DATABASE_HTTP_ENDPOINT: endpoint.url,
          OPEN_ACCESS: "true",
        }),
      )

    const send = async (at: RunningBundle, key: string, count: number) => {
      const response = await fetch(`${at.address}/api/signals/batch`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "Idempotency-Key": key },
        body: JSON.stringify({
          signals: Array.from({ length: count }, (_, index) => ({
            context_window_id: "before the dump",
            raw_content: `${key} ${index}`,
            dedupe_key: `${key} ${index}`,
          })),
        }),
      })
      expect(response.status).toBe(200)
      return (await response.json()) as { transaction_id: string; successful_count: number }
    }

    const readFeed = (at: RunningBundle, cursor = "") =>
      fetch(`${at.address}/api/signals/feed?limit=1000${cursor && `&after=${encodeURIComponent(cursor)}`}`)

    beforeAll(async () => {
      endpoint = await started(startNeonEndpoint())
      former = await started(startTemporaryPostgres(tmpdir(), { programs }))
      restored = await started(startTemporaryPostgres(tmpdir(), { programs }))
      await migrate(former.url)
      // The new server's transactions have smaller numbers than the dumped ones.
      await queryAt(
        former.url,
        "do $$ begin for i in 1..3000 loop perform pg_current_xact_id(); commit; end loop; end $$",
      )
      const first = await serve(former.url)
      const { transaction_id } = await send(first, "first", 300)
      await send(first, "second", 200)
      before = { feed: (await (await readFeed(first)).json()) as Feed, batch: transaction_id, service: first }
      const folder = await mkdtemp(join(tmpdir(), "signal-ingest-dump-"))
      execFileSync("bash", ["-euc", COMMANDS], {
        cwd: folder,
        stdio: ["ignore", "ignore", "inherit"],
        env: { PATH: `${programs}:/usr/bin:/bin`, OWNER_URL: former.url, NEW_OWNER_URL: restored.url },
      })
      await rm(folder, { recursive: true })
      service = await serve(restored.url)
    })
    afterAll(async () => {
      for (const stop of stops) await stop()
    })

    it("has every row, and needs no migration", async () => {
      expect(await migrate(restored.url)).toEqual([])
      const rows = "select count(*)::int4 as count, max(id)::int4 as last from signals"
      expect(await queryAt(restored.url, rows)).toEqual(await queryAt(former.url, rows))
      expect((await fetch(`${service.address}/readyz`)).status).toBe(200)
    })

    it("does not read the feed until the ledger is put in order, then reads all of it in the same order", async () => {
      expect((await readFeed(service)).status).toBe(503)
      await queryAt(restored.url, STATEMENT)
      const after = (await (await readFeed(service)).json()) as Feed
      expect(after.signals.map(({ id }) => id)).toEqual(before.feed.signals.map(({ id }) => id))
      expect(after.signals).toHaveLength(500)
    })

    it("refuses the cursor of a reader of the former server", async () => {
      expect((await readFeed(service, before.feed.next_cursor)).status).toBe(422)
    })

    it("answers a stored batch from the ledger, and knows its dedupe keys", async () => {
      expect((await send(service, "first", 300)).transaction_id).toBe(before.batch)
      const response = await fetch(`${service.address}/api/signals`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ context_window_id: "c", dedupe_key: "second 7" }),
      })
      expect(await response.json()).toMatchObject({ duplicate: true })
      expect(await queryAt(restored.url, "select count(*)::int4 as count from signals")).toEqual([
        { count: 500 },
      ])
    })

    it("gives new signals larger ids, and the feed has them after the others", async () => {
      await send(service, "third", 3)
      const { signals } = (await (await readFeed(service)).json()) as Feed
      const ids = signals.map(({ id }) => id)
      expect(ids).toHaveLength(503)
      expect(Math.min(...ids.slice(-3))).toBeGreaterThan(Math.max(...ids.slice(0, 500)))
    })
  },
)
