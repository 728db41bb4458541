import { SENDING_HELP } from "./options.ts"

export const HELP: Record<string, string> = {
  "": `Usage: signals COMMAND [options]

  import slack PATH       a Slack export (ZIP or folder), slackdump's JSON or JSONL, or messages.jsonl
  import sql              rows of a query on Postgres
  import jsonl FILE       signals, one a line; - is standard input
  import csv FILE         rows of a table; - is standard input
  consume kafka           records of a topic, for as long as it runs
  verify ...              compares what the service has with a source, after an import
  completion SHELL        prints what bash, zsh or fish need to complete these

signals COMMAND --help tells the options of each.

Exit codes: 0 all stored; 1 some were not, the failures file has them; 2 not understood; 3 gave up, the same command goes on;
130 stopped, the same command goes on.`,

  "import slack": `Usage: signals import slack PATH [options]

  --team ID           the team of the messages, where the export does not tell
  --dry-run           print what would be sent, and send nothing
  -o, --output FILE   write batches for curl, and send nothing
${SENDING_HELP}

  signals import slack export.zip
  signals import slack export.zip --dry-run | head
  signals import slack messages.jsonl -o batch.json && curl -X POST http://localhost:8002/api/signals/batch -d @batch.json`,

  "import sql": `Usage: signals import sql --from postgres://... --query SQL [options]

  --from URL          the database
  --query SQL         what to read; with ORDER BY an unchanged table can be gone on with after a stop
  --map COLUMN=FIELD  which column is which field of a signal; the others are taken by their names, or go into the payload
  --dry-run           print what would be sent, and send nothing
  -o, --output FILE   write batches for curl, and send nothing
${SENDING_HELP}

  signals import sql --from postgres://localhost/chat --query "select * from messages order by id" --map room=context_window_id --map body=raw_content`,

  "import jsonl": `Usage: signals import jsonl FILE [options]

  --dry-run           print what would be sent, and send nothing
  -o, --output FILE   write batches for curl, and send nothing
${SENDING_HELP}

  signals import jsonl signals.jsonl.gz
  signals import jsonl signals.jsonl.failures.jsonl     what failed, mended
  cat signals.jsonl | signals import jsonl -`,

  "import csv": `Usage: signals import csv FILE [options]

  --map COLUMN=FIELD  which column is which field of a signal; the others are taken by their names, or go into the payload
  --delimiter C       default ,
  --dry-run           print what would be sent, and send nothing
  -o, --output FILE   write batches for curl, and send nothing
${SENDING_HELP}

  signals import csv messages.csv --map room=context_window_id --map body=raw_content`,

  "consume kafka": `Usage: signals consume kafka --brokers HOST:PORT --topic TOPIC --group GROUP [options]

  --brokers LIST      the brokers, with commas between
  --topic TOPIC       several times for several
  --group GROUP       the consumer group: its offsets say how far it has come
  --from WHERE        earliest (default) or latest, for a group without offsets
  --mapping JSON      which fields of a record become which of a signal, as KAFKA_FIELD_MAPPING
  --url, --batch-size, --concurrency, --deadline, --failures, --quiet   as for import

  signals consume kafka --brokers localhost:9092 --topic chat --group signals`,

  verify: `Usage: signals verify IMPORT... [options]

  Reads a source again, as "import" would, and compares the number of signals and the mean score of each of its conversations
  with those of the service.

  --since TIME        count signals of the service after this time (default: all)
  --url URL

  signals verify slack export.zip
  signals verify csv messages.csv --map room=context_window_id`,
}
