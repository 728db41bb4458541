import { Command, Option } from "@commander-js/extra-typings"
import { batchSizeOption, deadlineOption, type Invocation, KEY_HELP, quietOption, urlOption } from "../options.ts"

const EXAMPLE = "signals consume kafka --brokers localhost:9092 --topic chat --group signals"

/** `signals consume kafka`. */
export function consumeCommand(invocation: Invocation) {
  return new Command("consume").description("Stores records as they arrive, until it is stopped.").addCommand(
    new Command("kafka")
      .description("records of Kafka topics")
      .requiredOption("--brokers <list>", "addresses of brokers, HOST:PORT, separated by commas")
      .requiredOption("--topic <topic...>", "the topics")
      .requiredOption("--group <group>", "the consumer group, whose committed offsets say where to continue")
      .addOption(
        new Option("--from <where>", "where a group without offsets begins").choices(["earliest", "latest"]).default("earliest"),
      )
      .option("--mapping <json>", "which fields of a record become which of a signal, as KAFKA_FIELD_MAPPING", "{}")
      .option("--cluster <name>", "tells clusters apart whose topics have the same names, as ?cluster= of the webhook")
      .addOption(urlOption())
      .addOption(batchSizeOption())
      .addOption(deadlineOption())
      .option("--failures <file>", "where records that were not stored go, with the reason (default: in .signals)")
      .addOption(quietOption())
      .addHelpText("after", `\n${KEY_HELP}\n\n  ${EXAMPLE}`)
      .action(async (options) => {
        const { consumeKafka } = await import("./consume.ts")
        invocation.exitCode = await consumeKafka(options, invocation.stop)
      }),
  )
}
