import { ShellCompDirective } from "@bomb.sh/tab"
import tab from "@bomb.sh/tab/commander"
import { Command, type CommandUnknownOpts } from "@commander-js/extra-typings"
import type { Command as PlainCommand } from "commander"
import packageJson from "../../package.json" with { type: "json" }
import { auditCommand } from "./audit/command.ts"
import { dlqCommand } from "./dlq/command.ts"
import { eraseCommand } from "./erase/command.ts"
import { exportCommand } from "./export/command.ts"
import { importCommand, verifyCommand } from "./import/command.ts"
import { consumeCommand } from "./kafka/command.ts"
import { keyCommand, keysCommand } from "./keys/command.ts"
import { subscriptionsCommand } from "./subscriptions/command.ts"
import { tailCommand } from "./tail/command.ts"
import type { Invocation } from "./terminal/options.ts"

const AFTER_HELP = `
Exit codes:
  0    done
  1    done, but some records failed; the failures file or the output has them
  2    the command line is wrong
  3    stopped by an error, such as a service that does not answer; the same command continues
  130  stopped by Ctrl-C; the same command continues
  143  stopped by SIGTERM; the same command continues`

/** Defines the whole command line. Help, errors and completion come from this definition. */
export function createProgram(invocation: Invocation): Command {
  const program = new Command("signals")
    .description(
      "Sends signals to signal-ingest, compares sources with it, exports and follows its signals, handles dead letters, subscriptions and keys, erases, and audits.",
    )
    .version(packageJson.version, "--version", "print the version")
    .addHelpText("after", AFTER_HELP)
  program.addCommand(importCommand(invocation))
  program.addCommand(verifyCommand(invocation))
  program.addCommand(consumeCommand(invocation))
  program.addCommand(dlqCommand(invocation))
  program.addCommand(exportCommand(invocation))
  program.addCommand(tailCommand(invocation))
  program.addCommand(eraseCommand(invocation))
  program.addCommand(subscriptionsCommand(invocation))
  program.addCommand(auditCommand(invocation))
  program.addCommand(keysCommand(invocation))
  program.addCommand(keyCommand(invocation))
  addCompletion(program, invocation)
  // Help and version.
  const writeOut = (text: string) => {
    invocation.printsResult = true
    process.stdout.write(text)
  }
  for (const command of everyCommand(program)) {
    command
      .exitOverride()
      .configureOutput({ outputError: () => {}, writeOut })
      .helpOption("--help", "print this help")
    if (command !== program) command.helpCommand(false)
  }
  return program
}

function* everyCommand(command: CommandUnknownOpts): Generator<CommandUnknownOpts> {
  yield command
  for (const child of command.commands) yield* everyCommand(child)
}

/** Returns the deepest command that `args` name, such as `signals import slack`. */
export function namedCommand(program: CommandUnknownOpts, args: readonly string[]): CommandUnknownOpts {
  const [first, ...rest] = args
  const child = program.commands.find((command) => command.name() === first)
  return child ? namedCommand(child, rest) : program
}

/** Returns the words that call a command, such as `signals import slack`. */
export function pathOf(command: CommandUnknownOpts): string {
  return command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name()
}

/**
 * Adds `signals completion SHELL`. The printed script asks this program at each press of Tab, so completion
 * follows the definition of the commands.
 */
function addCompletion(program: Command, invocation: Invocation): void {
  // The typed Command is commander's class with narrower types.
  const root = tab(program as unknown as PlainCommand, { completionCommandName: "completion" })
  // The library turns off completion of file names, but most sources are files.
  Object.defineProperty(root, "complete", {
    value(word: string) {
      const offered = root.completions.filter(({ value }) => value.startsWith(word))
      // A command with commands of its own is offered once for each of them.
      const found = offered.filter((one, at) => at === offered.findIndex(({ value }) => value === one.value))
      for (const { value, description } of found) console.log(`${value}\t${description ?? ""}`)
      const { ShellCompDirectiveDefault, ShellCompDirectiveNoFileComp } = ShellCompDirective
      console.log(`:${found.length > 0 ? ShellCompDirectiveNoFileComp : ShellCompDirectiveDefault}`)
    },
  })
  const completion = program.commands.find((command) => command.name() === "completion")
  completion?.description("Prints the script that completes this command line in a shell.")
  completion?.hook("preAction", () => {
    invocation.printsResult = true
  })
}
