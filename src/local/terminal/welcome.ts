import { styleText } from "node:util"

const strong = (text: string) => styleText("bold", text, { stream: process.stdout })
const link = (text: string) => styleText(["underline", "cyan"], text, { stream: process.stdout })

/** The last line of each text. */
const CLOSING = "Press Ctrl-C to stop."

export interface Welcome {
  address: string
  open: boolean
  /** Lines that say how to reach the database. */
  database: string[]
}

/** The text that `npm start` prints when the service is ready. */
export const welcome = ({ address, open, database }: Welcome) => `
  ${strong("signal-ingest")} runs${open ? ", open to everyone who can reach it" : ""}

    Service      ${link(address)}
    Dashboard    ${link(`${address}/`)}
    API docs     ${link(`${address}/docs`)}
${database.map((line, row) => `    ${(row === 0 ? "Database" : "").padEnd(12)} ${line}`).join("\n")}

  Try it:
    curl -X POST ${address}/api/signals/batch \\
      -H "Content-Type: application/json"${open ? "" : ' -H "Authorization: Bearer YOUR_KEY"'} \\
      -d '{"signals": [{"context_window_id": "conv-123", "raw_content": "Hello", "signal_score": 0.85}]}'

  ${CLOSING}
`

/** The text that `npm start -- --database-only` prints. */
export const databaseOnly = (database: string[], devVars: string) => `
  The database of ${strong("signal-ingest")} runs

${database.map((line) => `    ${line}`).join("\n")}

  In another terminal:
    npx wrangler dev --env-file ${devVars}

  ${CLOSING}
`
