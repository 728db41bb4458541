import { readdirSync, readFileSync } from "node:fs"

const MS_A_TICK = 10

/**
 * Milliseconds of CPU that the threads of process `pid` have used so far, to the nanosecond, and its ended
 * children, to 10 ms, so that the time of a Postgres server includes closed connections. NaN where there is
 * no Linux /proc.
 */
export function cpuMs(pid: number): number {
  try {
    const threads = readdirSync(`/proc/${pid}/task`)
    const nanoseconds = threads.map((thread) =>
      Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]),
    )
    return nanoseconds.reduce((sum, one) => sum + one, 0) / 1e6 + endedChildrenMs(pid)
  } catch {
    return Number.NaN
  }
}

/** @see https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html cutime, cstime */
function endedChildrenMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8")
  // The name of the program, in brackets, may hold spaces.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  return (Number(fields[13]) + Number(fields[14])) * MS_A_TICK
}

/** The processes that `pid` has started, such as the backends of a Postgres server. */
export function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number)
  } catch {
    return []
  }
}
