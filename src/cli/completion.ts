import { ShellCompDirective } from "@bomb.sh/tab"
import tab from "@bomb.sh/tab/commander"
import type { Command } from "@commander-js/extra-typings"
import type { Command as PlainCommand } from "commander"

/**
 * Adds `signals completion SHELL`. The printed script asks this program at each press of Tab, so completion
 * follows the definition of the commands.
 */
export function addCompletion(program: Command): void {
  // The typed Command is commander's class with narrower types.
  const root = tab(program as unknown as PlainCommand, { completionCommandName: "completion" })
  // The library turns off completion of file names, but most sources are files.
  Object.defineProperty(root, "complete", {
    value(word: string) {
      const found = root.completions.filter(({ value }) => value.startsWith(word))
      for (const { value, description } of found) console.log(`${value}\t${description ?? ""}`)
      const { ShellCompDirectiveDefault, ShellCompDirectiveNoFileComp } = ShellCompDirective
      console.log(`:${found.length > 0 ? ShellCompDirectiveNoFileComp : ShellCompDirectiveDefault}`)
    },
  })
  const completion = program.commands.find((command) => command.name() === "completion")
  completion?.description("Prints the script that completes this command line in a shell.")
}
