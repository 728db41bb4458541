import { spawn } from "node:child_process"
import { once } from "node:events"
import { writeFileSync } from "node:fs"
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Client } from "pg"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { StartupError } from "../../../../src/local/machine/startup-error.ts"
import { startPostgres } from "../../../../src/local/postgres/postgres.ts"
import { findPrograms } from "../../../../src/local/postgres/server.ts"
import { otherVersions } from "../../../setup/postgres/versions.ts"
import { isRunning } from "../../../setup/processes.ts"
import { queryAt } from "../../../setup/rig.ts"

const MODULE = new URL("../../../../src/local/postgres/postgres.ts", import.meta.url).href

/** The version that these tests run on. */
const { major } = await findPrograms()

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-test-"))
  await chmod(folder, 0o755)
})
afterEach(() => rm(folder, { recursive: true, force: true }))

describe("the embedded Postgres", () => {
  it("counts characters, not bytes, in every locale of the machine", async () => {
    const postgres = await startPostgres(join(folder, "data"))
    expect(
      await queryAt(
        postgres.url,
        "select length('\u00e9\u{1F600}') as characters, current_setting('server_encoding') as encoding",
      ),
    ).toEqual([{ characters: 2, encoding: "UTF8" }])
    await postgres.stop()
    expect(await isRunning(postgres.pid)).toBe(false)
  })

  it("does not change the exit code of its process", async () => {
    const program = `
      const { startPostgres } = await import(${JSON.stringify(MODULE)})
      const postgres = await startPostgres(${JSON.stringify(join(folder, "data"))})
      await postgres.stop()
      process.exitCode = 3`
    const starter = spawn(process.execPath, ["--input-type=module", "--eval", program], { stdio: "inherit" })
    expect(await once(starter, "exit")).toEqual([3, null])
  })

  it("ends when its process ends without a stop", async () => {
    const program = `
      const { startPostgres } = await import(${JSON.stringify(MODULE)})
      const { pid } = await startPostgres(${JSON.stringify(join(folder, "data"))})
      process.stdout.write(String(pid), () => process.exit(3))`
    const starter = spawn(process.execPath, ["--input-type=module", "--eval", program], {
      stdio: ["ignore", "pipe", "inherit"],
    })
    const [pid] = await once(starter.stdout, "data")
    expect(await once(starter, "exit")).toEqual([3, null])
    await expect.poll(() => isRunning(Number(pid))).toBe(false)
  })

  it("keeps its data, even after a crash", async () => {
    const first = await startPostgres(join(folder, "data"))
    await queryAt(first.url, "create table kept (a int)")
    await first.stop()
    const second = await startPostgres(join(folder, "data"))
    await queryAt(second.url, "insert into kept values (1)")
    await second.kill()
    await second.restart()
    expect(await queryAt(second.url, "select a from kept")).toEqual([{ a: 1 }])
    await second.stop()
  })

  it("refuses a folder that is in use, naming the process", async () => {
    const postgres = await startPostgres(join(folder, "data"))
    await expect(startPostgres(join(folder, "data"))).rejects.toThrow(
      `A Postgres server (process ${postgres.pid}) already runs on`,
    )
    await postgres.stop()
  })

  it("stops a server whose starter was killed, and uses its data", async () => {
    const program = `import { startPostgres } from ${JSON.stringify(MODULE)}
      console.log((await startPostgres(${JSON.stringify(join(folder, "data"))})).pid)`
    const starter = spawn(process.execPath, ["--input-type=module", "--eval", program], {
      stdio: ["ignore", "pipe", "inherit"],
    })
    const [said] = await once(starter.stdout, "data")
    const orphan = Number(String(said))
    starter.kill("SIGKILL")
    await once(starter, "exit")
    expect(await isRunning(orphan)).toBe(true)

    const postgres = await startPostgres(join(folder, "data"))
    expect(await queryAt(postgres.url, "select 1 as one")).toEqual([{ one: 1 }])
    await postgres.stop()
    expect(await isRunning(orphan)).toBe(false)
  })

  it("does not mistake a process with the id of a crashed server for the server", async () => {
    const first = await startPostgres(join(folder, "data"))
    const pidFile = join(folder, "data", "postmaster.pid")
    const lines = (await readFile(pidFile, "utf8")).split("\n")
    await first.kill()
    await writeFile(pidFile, [process.pid, ...lines.slice(1)].join("\n"))
    const second = await startPostgres(join(folder, "data"))
    expect(second.pid).not.toBe(process.pid)
    await second.stop()
  })

  it("creates the database again when its creation was interrupted", async () => {
    await mkdir(join(folder, "data.unfinished"))
    await writeFile(join(folder, "data.unfinished", "PG_VERSION"), "18\n")
    const postgres = await startPostgres(join(folder, "data"))
    expect(await queryAt(postgres.url, "select 1 as one")).toEqual([{ one: 1 }])
    await postgres.stop()
    expect(await readdir(folder)).toEqual(["data"])
  })

  it("reports that it ended by itself, but not that it was stopped", async () => {
    const crashed = Promise.withResolvers<void>()
    let crashes = 0
    const onCrash = () => {
      crashes++
      crashed.resolve()
    }
    const postgres = await startPostgres(join(folder, "data"), { onCrash })
    await postgres.stop()
    await postgres.restart()
    expect(crashes).toBe(0)
    process.kill(postgres.pid, "SIGKILL")
    await crashed.promise
    await postgres.stop()
    expect(crashes).toBe(1)
  })

  it("starts again after a kill, even while a connection has not noticed it yet", async () => {
    const postgres = await startPostgres(join(folder, "data"))
    const client = new Client({ connectionString: postgres.url })
    client.on("error", () => {})
    await client.connect()
    // It works on until the file `noticed` is there, wants to send its result, and then loses its connection.
    const busy = client
      .query(
        `do $$ begin loop
           exit when (pg_stat_file('noticed', true)).size is not null or clock_timestamp() > now() + interval '1 minute';
         end loop; end $$`,
      )
      .catch(() => {})
    await expect
      .poll(() =>
        queryAt(postgres.url, "select from pg_stat_activity where query like 'do $$%' and state = 'active'"),
      )
      .toHaveLength(1)
    await postgres.kill()
    let refused = 0
    await postgres.restart(() => {
      if (refused++ === 0) writeFileSync(join(folder, "data", "noticed"), "")
    })
    expect(refused).toBeGreaterThan(0)
    await busy
    expect(await queryAt(postgres.url, "select 1 as one")).toEqual([{ one: 1 }])
    await postgres.stop()
  })

  it("has a random password, since any page in a browser can reach the endpoint in front of it", async () => {
    const urls = []
    for (const name of ["one", "other"]) {
      const postgres = await startPostgres(join(folder, name))
      urls.push(new URL(postgres.url).password)
      await expect(queryAt(postgres.url.replace(/:[^:]+@/, ":postgres@"), "select 1")).rejects.toThrow(
        "password authentication failed",
      )
      await postgres.stop()
    }
    expect(new Set(urls).size).toBe(2)
  })

  it("lets clients log in only with SCRAM, also in a folder that an earlier version has made", async () => {
    const data = join(folder, "data")
    const rules = join(data, "pg_hba.conf")
    const first = await startPostgres(data)
    await first.stop()
    const text = await readFile(rules, "utf8")
    const methods = (of: string) =>
      new Set(
        of
          .split("\n")
          .filter((line) => /^(host|local)/.test(line))
          .map((line) => line.split(/\s+/).at(-1)),
      )
    expect(methods(text)).toEqual(new Set(["scram-sha-256"]))
    const former = text.replaceAll(/^((host|local).*)scram-sha-256$/gm, "$1password")
    await writeFile(rules, former)
    const second = await startPostgres(data)
    expect(
      await queryAt(second.url, "select distinct auth_method from pg_hba_file_rules where type is not null"),
    ).toEqual([{ auth_method: "scram-sha-256" }])
    expect(await readFile(rules, "utf8")).toBe(text)
    await second.stop()
  })

  it.each([
    ["of another version", { PG_VERSION: "14" }, `was made by Postgres 14, and this is ${major}`],
    ["of somebody else", { PG_VERSION: String(major) }, "was not made by npm start"],
    ["of something else", { "notes.txt": "" }, "is not empty and holds no database"],
  ])("refuses a folder %s in one sentence", async (_, files, sentence) => {
    await mkdir(join(folder, "data"))
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, "data", name), `${text}\n`)
    const refused = startPostgres(join(folder, "data"))
    await expect(refused).rejects.toBeInstanceOf(StartupError)
    await expect(refused).rejects.toThrow(sentence)
  })

  it.each(otherVersions())(
    "runs Postgres $major of $from where it is told so",
    async ({ major, programs }) => {
      const data = join(folder, "data")
      const postgres = await startPostgres(data, { programs })
      expect(
        await queryAt(
          postgres.url,
          `select current_setting('server_version_num')::int4 / 10000 as major, length('\u00e9\u{1F600}') as characters,
           (select string_agg(text, '' order by text) from unnest(array['a', 'B', '\u00e9', '_']) as text) as sorted,
           upper('\u00e9') as upper`,
        ),
      ).toEqual([{ major, characters: 2, sorted: "B_a\u00e9", upper: "\u00c9" }])
      await postgres.stop()
      const other = await findPrograms()
      if (other.major !== major)
        await expect(startPostgres(data)).rejects.toThrow(
          `was made by Postgres ${major}, and this is ${other.major}`,
        )
    },
  )

  it("says which folder has no programs", async () => {
    const started = startPostgres(join(folder, "data"), { programs: folder })
    await expect(started).rejects.toBeInstanceOf(StartupError)
    await expect(started).rejects.toThrow(
      `POSTGRES_PROGRAMS has no Postgres that runs: spawn ${folder}/postgres`,
    )
  })

  it("refuses a path that can't be a folder", async () => {
    await writeFile(join(folder, "file"), "")
    await expect(startPostgres(join(folder, "file", "data"))).rejects.toThrow(
      /^The data folder .* can't be used: ENOTDIR/,
    )
  })

  it.runIf(process.getuid?.() === 0)("names the folder that root's server user cannot enter", async () => {
    await chmod(folder, 0o700)
    await expect(startPostgres(join(folder, "data"))).rejects.toThrow(
      `Started by root, Postgres runs as the user postgres, who cannot enter ${folder}`,
    )
  })
})
