import { execFileSync } from "node:child_process"
import { openSpool } from "../../../../src/client/spool/spool.ts"

/**
 * Run under a limit of the size of files: adds until the disk is full, lifts the limit, adds once more, and
 * crashes.
 */
const [folder = ""] = process.argv.slice(2)
const spool = await openSpool(folder)
for (const name of ["one", "two", "three", "four"]) {
  if (name === "four") execFileSync("prlimit", ["--pid", String(process.pid), "--fsize=unlimited"])
  const outcome = await spool.append(JSON.stringify({ context_window_id: name })).then(
    () => "accepted",
    (error: NodeJS.ErrnoException) => error.code,
  )
  console.log(name, outcome)
}
process.kill(process.pid, "SIGKILL")
