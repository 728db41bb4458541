#!/usr/bin/env node
import { completionScript } from "./completion.ts"
import { HELP } from "./help.ts"
import { importCommand } from "./import/import.ts"
import { EXIT, UsageError } from "./usage.ts"

/** Carries out a command line. Returns the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const [first = "", second = "", ...rest] = args
  const stop = new AbortController()
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.on(signal, () => {
      // What is under way is waited for the first time, not the second.
      if (stop.signal.aborted) process.exit(EXIT.stopped)
      stop.abort()
      if (process.stderr.isTTY) process.stderr.write("\nStopping; once more ends it at once.\n")
    })
  try {
    // Reading JSON to the last digit needs what Node 22 has.
    if (!("rawJSON" in JSON)) throw new UsageError(`This needs Node 22 or newer, and is run by ${process.version}.`)
    if (args.includes("--help") || first === "" || first === "help") {
      console.log(HELP[`${first} ${second}`] ?? HELP[first] ?? HELP[""])
      return first === "" ? EXIT.usage : EXIT.done
    }
    switch (first) {
      case "import":
        return await importCommand(second, rest, stop.signal)
      case "verify": {
        const { verifyCommand } = await import("./import/verify.ts")
        return await verifyCommand(second, rest)
      }
      case "consume": {
        const { consumeCommand } = await import("./kafka/consume.ts")
        return await consumeCommand(second, rest, stop.signal)
      }
      case "completion":
        process.stdout.write(completionScript(second || undefined))
        return EXIT.done
      default:
        throw new UsageError(`${first} is no command.`)
    }
  } catch (error) {
    if (error instanceof UsageError || (error as NodeJS.ErrnoException).code?.startsWith("ERR_PARSE_ARGS")) {
      console.error(
        `${(error as Error).message.split(". To specify")[0]}\nSee signals ${[first, second].filter((word) => /^[a-z]+$/.test(word)).join(" ")} --help.`,
      )
      return EXIT.usage
    }
    // A file or folder that can't be read or written, or a full disk: Node's own words name it.
    if ((error as NodeJS.ErrnoException).syscall) {
      console.error(`Gave up: ${(error as Error).message}`)
      return EXIT.gaveUp
    }
    throw error
  }
}

// A broken pipe, as of `| head`, is no fault.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? EXIT.done : EXIT.gaveUp))
process.exitCode = await main(process.argv.slice(2))
