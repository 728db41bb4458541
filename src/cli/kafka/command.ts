import { Command, Option } from "@commander-js/extra-typings"
import {
  batchSizeOption,
  deadlineOption,
  type Invocation,
  KEY_HELP,
  quietOption,
  urlOption,
} from "../terminal/options.ts"
import { PASSWORD_VARIABLE } from "./connection.ts"

const AFTER_HELP = `
${KEY_HELP}

  signals consume kafka --brokers localhost:9092 --topic chat --group signals
  ${PASSWORD_VARIABLE}=... signals consume kafka --brokers kafka:9093 --topic chat --group signals \\
    --tls --tls-ca ca.pem --sasl scram-sha-512 --username signals`

/** `signals consume kafka`. */
export function consumeCommand(invocation: Invocation) {
  return new Command("consume").description("Stores records as they arrive, until it is stopped.").addCommand(
    new Command("kafka")
      .description("records of Kafka topics")
      .requiredOption("--brokers <list>", "addresses of brokers, HOST:PORT, separated by commas")
      .requiredOption("--topic <topic...>", "the topics")
      .requiredOption("--group <group>", "the consumer group, whose committed offsets say where to continue")
      .addOption(
        new Option("--from <where>", "where a group without offsets begins")
          .choices(["earliest", "latest"])
          .default("earliest"),
      )
      .addOption(
        new Option(
          "--on-lost <what>",
          "when the topic no longer has the records at the group's offset: continue with its oldest record, with new ones, or stop",
        )
          .choices(["earliest", "latest", "stop"])
          .default("stop"),
      )
      .option(
        "--mapping <json>",
        "maps fields of a record to fields of a signal, as KAFKA_FIELD_MAPPING does",
        "{}",
      )
      .option(
        "--cluster <name>",
        "distinguishes clusters whose topics have the same names, as ?cluster= of the webhook",
      )
      .addOption(
        new Option("--sasl <mechanism>", "log in to the brokers").choices([
          "plain",
          "scram-sha-256",
          "scram-sha-512",
        ]),
      )
      .addOption(new Option("--username <name>", "the user to log in as").env("KAFKA_USERNAME"))
      .option(
        "--password-file <file>",
        `the file that holds the user's password (default: the variable ${PASSWORD_VARIABLE})`,
      )
      .option("--tls", "connect by TLS")
      .option("--tls-ca <file>", "the certificates that sign the brokers' (PEM; default: those of Node)")
      .option("--tls-cert <file>", "this client's certificate (PEM)")
      .option("--tls-key <file>", "the key of this client's certificate (PEM)")
      .option(
        "--tls-servername <name>",
        "the name in the brokers' certificates (default: that of each broker)",
      )
      .option(
        "--tls-insecure",
        "accept any certificate: anyone on the network path can read and change the records",
      )
      .addOption(urlOption())
      .addOption(batchSizeOption())
      .addOption(deadlineOption())
      .option(
        "--failures <file>",
        "where records that were not stored go, with the reason; each process adds an id to the name (default: in .signals)",
      )
      .addOption(quietOption())
      .addHelpText("after", AFTER_HELP)
      .action(async (options) => {
        const { consumeKafka } = await import("./consume.ts")
        invocation.exitCode = await consumeKafka(options, invocation)
      }),
  )
}
