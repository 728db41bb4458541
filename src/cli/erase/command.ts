import { Command, InvalidArgumentError, Option } from "@commander-js/extra-typings"
import { type Invocation, KEY_HELP, quietOption, urlOption } from "../terminal/options.ts"

function readId(text: string, before: readonly number[] = []): number[] {
  if (!/^[1-9]\d{0,14}$/.test(text)) throw new InvalidArgumentError("It must be the id of a signal.")
  return [...before, Number(text)]
}

const AFTER_HELP = `
${KEY_HELP} It needs the scope "admin".

  signals erase --user U123 --suppress
  signals erase --signal 1001 --signal 1002 --yes`

/** `signals erase`. */
export function eraseCommand(invocation: Invocation) {
  return new Command("erase")
    .description(
      "Erases the signals of a user, an agent or a conversation, or signals by their ids, permanently.",
    )
    .addOption(
      new Option("--user <id>", "every signal of this user_id").conflicts([
        "agent",
        "conversation",
        "signal",
      ]),
    )
    .addOption(
      new Option("--agent <id>", "every signal of this agent_id").conflicts(["conversation", "signal"]),
    )
    .addOption(
      new Option("--conversation <id>", "every signal of this context_window_id").conflicts(["signal"]),
    )
    .addOption(
      new Option("--signal <id>", "the signal with this id; may be given 1,000 times").argParser(readId),
    )
    .option("--suppress", "also refuse later signals of the user, agent or conversation")
    .option("--yes", "do not ask for confirmation")
    .addOption(urlOption())
    .addOption(quietOption())
    .addHelpText("after", AFTER_HELP)
    .action(async (options) => {
      const { erase } = await import("./erase.ts")
      invocation.exitCode = await erase(options, invocation.stop)
    })
}
