import { Command, type CommandUnknownOpts } from "@commander-js/extra-typings"
import { addCompletion } from "./completion.ts"
import { dlqCommand } from "./dlq/command.ts"
import { eraseCommand } from "./erase/command.ts"
import { exportCommand } from "./export/command.ts"
import { importCommand, verifyCommand } from "./import/command.ts"
import { consumeCommand } from "./kafka/command.ts"
import { keyCommand } from "./key.ts"
import type { Invocation } from "./options.ts"
import { tailCommand } from "./tail/command.ts"

const AFTER_HELP = `
Exit codes:
  0    done
  1    done, but some records failed; the failures file or the output has them
  2    the command line is wrong
  3    stopped by an error, such as a service that does not answer; the same command continues
  130  stopped by Ctrl-C; the same command continues`

/** Defines the whole command line. Help, errors and completion come from this definition. */
export function createProgram(invocation: Invocation): Command {
  const program = new Command("signals")
    .description(
      "Sends signals to signal-ingest, compares sources with it, exports and follows its signals, handles dead letters, and erases.",
    )
    .addHelpText("after", AFTER_HELP)
  program.addCommand(importCommand(invocation))
  program.addCommand(verifyCommand(invocation))
  program.addCommand(consumeCommand(invocation))
  program.addCommand(dlqCommand(invocation))
  program.addCommand(exportCommand(invocation))
  program.addCommand(tailCommand(invocation))
  program.addCommand(eraseCommand(invocation))
  program.addCommand(keyCommand())
  addCompletion(program)
  for (const command of everyCommand(program)) {
    command
      .exitOverride()
      .configureOutput({ outputError: () => {} })
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
