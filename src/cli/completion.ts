import { ShellCompDirective } from "@bomb.sh/tab"
import tab from "@bomb.sh/tab/commander"
import type { Command } from "@commander-js/extra-typings"
import type { Command as PlainCommand } from "commander"

/** Adds `signals completion SHELL`. Its script asks this program at each press of Tab, so that it offers what the definition offers. */
export function addCompletion(program: Command): void {
  // The typed Command is commander's own class under narrower types.
  const root = tab(program as unknown as PlainCommand, { completionCommandName: "completion" })
  // The library forbids the shell to complete the name of a file, which most sources are.
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
