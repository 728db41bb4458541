import { Argument, Command, InvalidArgumentError, Option } from "@commander-js/extra-typings"
import type { SubscriptionFilter } from "../../client/index.ts"
import { deadlineOption, type Invocation, KEY_HELP, urlOption, wholeNumber } from "../terminal/options.ts"
import type { SubscriptionsOptions } from "./subscriptions.ts"

const MAX_AGE_SECONDS = 3_155_760_000

function readScore(text: string): number {
  const score = Number(text)
  if (text.trim() === "" || !(score >= 0 && score <= 1))
    throw new InvalidArgumentError("It must be a number from 0 to 1.")
  return score
}

function readTime(text: string): string {
  const time = /^\d{4}-\d\d-\d\d(T[\d:.]+Z)?$/.test(text) ? new Date(text) : undefined
  if (time === undefined || Number.isNaN(time.getTime()))
    throw new InvalidArgumentError("It must be a date such as 2025-01-31, or a time in UTC.")
  return time.toISOString()
}

const NEEDS = `\n${KEY_HELP} It needs the scope "admin".`

const load = () => import("./subscriptions.ts")

const part = (name: string, description: string) =>
  new Command(name)
    .description(description)
    .addOption(new Option("--json", "print the answer as one line of JSON, for scripts"))
    .addOption(urlOption())
    .addOption(deadlineOption("how long to retry one request"))

const partOfOne = (name: string, description: string) =>
  part(name, description)
    .addArgument(new Argument("<name>", "name or id of a subscription"))
    .addHelpText("after", NEEDS)

type Called = Omit<SubscriptionsOptions, "stop">

/** `signals subscriptions`: who is called about new signals. */
export function subscriptionsCommand(invocation: Invocation) {
  const run = async (work: Promise<number>) => {
    invocation.exitCode = await work
  }
  const called = (options: Called): SubscriptionsOptions => ({ ...options, stop: invocation.stop })
  return new Command("subscriptions")
    .description("Lists, adds, tests, pauses and resumes what calls you about new signals.")
    .addCommand(
      part("list", "list the subscriptions: state, lag, last answer")
        .addHelpText("after", NEEDS)
        .action(async (options) => {
          invocation.printsResult = true
          await run((await load()).list(called(options)))
        }),
    )
    .addCommand(addCommand(run, called))
    .addCommand(
      partOfOne("test", "send a test call now; exits with 1 when it is not accepted").action(
        async (name, options) => run((await load()).test(name, called(options))),
      ),
    )
    .addCommand(
      partOfOne("pause", "send nothing until it is resumed").action(async (name, options) =>
        run((await load()).setState(name, "paused", called(options))),
      ),
    )
    .addCommand(
      partOfOne("resume", "continue where it was, also when it was disabled").action(async (name, options) =>
        run((await load()).setState(name, "active", called(options))),
      ),
    )
    .addCommand(
      partOfOne("resend", "send again what was stored since a time")
        .addArgument(new Argument("<since>", "a date, or a time in UTC").argParser(readTime))
        .action(async (name, since, options) => run((await load()).resend(name, since, called(options)))),
    )
    .addCommand(
      partOfOne("secret", "give it a new secret; it is printed once").action(async (name, options) =>
        run((await load()).replaceSecret(name, called(options))),
      ),
    )
    .addCommand(
      partOfOne("remove", "delete it").action(async (name, options) =>
        run((await load()).remove(name, called(options))),
      ),
    )
}

const addCommand = (
  run: (work: Promise<number>) => Promise<void>,
  called: (options: Called) => SubscriptionsOptions,
) =>
  part("add", "have new signals sent to an address; the secret is printed once")
    .addArgument(new Argument("<name>", "a name of its own"))
    .addArgument(new Argument("<to>", "the address: https, with a public host"))
    .addOption(new Option("--format <format>", "what is sent").choices(["signals", "slack"]))
    .option("--escalated", "only signals with escalate_flag 1")
    .addOption(new Option("--min-score <score>", "only this signal_score or higher").argParser(readScore))
    .addOption(new Option("--max-score <score>", "only this signal_score or lower").argParser(readScore))
    .option("--source <source>", "only this signal_source")
    .option("--conversation <id>", "only this context_window_id")
    .option("--user <id>", "only this user_id")
    .option("--agent <id>", "only this agent_id")
    .addOption(
      new Option("--max-age <seconds>", "no signal that was older when it was stored").argParser(
        wholeNumber(1, MAX_AGE_SECONDS),
      ),
    )
    .addHelpText(
      "after",
      `${NEEDS}\n\n  signals subscriptions add escalations https://hooks.example.com/ --escalated`,
    )
    .action(async (name, to, { json, url, deadline, format, ...filter }) =>
      run(
        (await load()).add(
          { name, url: to, format, filter: filterOf(filter) },
          called({ json, url, deadline }),
        ),
      ),
    )

/** The options of `add` that are parts of the filter. */
interface FilterOptions {
  escalated?: true | undefined
  minScore?: number | undefined
  maxScore?: number | undefined
  source?: string | undefined
  conversation?: string | undefined
  user?: string | undefined
  agent?: string | undefined
  maxAge?: number | undefined
}

const filterOf = (options: FilterOptions): SubscriptionFilter => ({
  escalate_flag: options.escalated && 1,
  min_score: options.minScore,
  max_score: options.maxScore,
  signal_source: options.source,
  context_window_id: options.conversation,
  user_id: options.user,
  agent_id: options.agent,
  max_age_seconds: options.maxAge,
})
