import { resolve } from "node:path"
import { parseArgs } from "node:util"
import { StartupError } from "./machine/startup-error.ts"

/** The default port of the service. */
export const SERVICE_PORT = 8002

/** The default port of the SQL endpoint. */
const ENDPOINT_PORT = 8003

export const HELP = `npm start -- [options]

  --port PORT            the service's port (default ${SERVICE_PORT})
  --host HOST            the address that the service listens on (default localhost)
  --data DIR             the folder that keeps the database and the queue (default .data)
  --endpoint-port PORT   the port of the database's SQL endpoint (default ${ENDPOINT_PORT}, or a free one)
  --database-only        start only the database and its endpoint, for npx wrangler dev
  --open-access          accept every call without a key, also on a database that DATABASE_URL names
  --demo                 send a small batch about once a second, with a few errors
  --help                 print this help

With DATABASE_URL set, the service uses that Neon database and starts no Postgres.`

export interface Options {
  port: number
  host: string
  dataDir: string
  /** `fixed`: the command line names the port, so no other port replaces it. */
  endpointPort: { port: number; fixed: boolean }
  databaseOnly: boolean
  /** Accepts every call without a key, whatever database it is. */
  openAccess: boolean
  demo: boolean
}

/**
 * Reads the options of `npm start`; undefined for `--help`.
 *
 * @throws {StartupError} an option is unknown or its value wrong
 */
export function readOptions(): Options | undefined {
  const { values } = parse()
  if (values.help) return undefined
  const endpoint = values["endpoint-port"]
  return {
    port: portOf("--port", values.port),
    host: values.host,
    dataDir: resolve(values.data),
    endpointPort: {
      port: endpoint === undefined ? ENDPOINT_PORT : portOf("--endpoint-port", endpoint),
      fixed: endpoint !== undefined,
    },
    databaseOnly: values["database-only"],
    openAccess: values["open-access"],
    demo: values.demo,
  }
}

function portOf(option: string, text: string): number {
  const port = Number(text)
  if (!Number.isInteger(port) || port < 1 || port > 65535)
    throw new StartupError(`Invalid port "${text}". ${option} takes a number from 1 to 65535.`)
  return port
}

function parse() {
  try {
    return parseArgs({
      options: {
        port: { type: "string", default: String(SERVICE_PORT) },
        host: { type: "string", default: "localhost" },
        data: { type: "string", default: ".data" },
        "endpoint-port": { type: "string" },
        "database-only": { type: "boolean", default: false },
        "open-access": { type: "boolean", default: false },
        demo: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    })
  } catch (error) {
    throw new StartupError(
      `${(error as Error).message.split(". ")[0]}. Run "npm start -- --help" for the list.`,
    )
  }
}
