import { Command } from "@commander-js/extra-typings"
import { type Invocation, KEY_HELP, quietOption, urlOption } from "../terminal/options.ts"

const AFTER_HELP = `
${KEY_HELP} It needs the scope "read".

  signals tail > signals.jsonl
  signals tail --follow --after now
  signals tail --follow --cursor-file tail.cursor >> signals.jsonl`

/** `signals tail`: prints the feed. */
export function tailCommand(invocation: Invocation) {
  return new Command("tail")
    .description("Prints the stored signals in commit order, one line of JSON each.")
    .option("--follow", "wait for new signals until the command is stopped")
    .option(
      "--after <cursor>",
      "where to start: a cursor that this command printed, or now (default: the oldest signal)",
    )
    .option("--cursor-file <file>", "save the cursor after each page, and start from it the next time")
    .addOption(urlOption())
    .addOption(quietOption())
    .addHelpText("after", AFTER_HELP)
    .action(async (options) => {
      const { tail } = await import("./tail.ts")
      invocation.printsResult = true
      invocation.exitCode = await tail(options, invocation.stop)
    })
}
