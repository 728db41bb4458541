import { readFile } from "node:fs/promises"
import type { ConsumerOptions } from "@platformatic/kafka"
import { UsageError } from "../terminal/errors.ts"

export interface ConnectionOptions {
  sasl?: "plain" | "scram-sha-256" | "scram-sha-512" | undefined
  username?: string | undefined
  passwordFile?: string | undefined
  tls?: true | undefined
  tlsCa?: string | undefined
  tlsCert?: string | undefined
  tlsKey?: string | undefined
  tlsServername?: string | undefined
  tlsInsecure?: true | undefined
}

/**
 * The variable that holds the password when no file is named. There is no option for it, since `ps` shows
 * options.
 */
export const PASSWORD_VARIABLE = "KAFKA_PASSWORD"

const MECHANISMS = {
  plain: "PLAIN",
  "scram-sha-256": "SCRAM-SHA-256",
  "scram-sha-512": "SCRAM-SHA-512",
} as const

type Connection = Pick<ConsumerOptions<Buffer, Buffer, Buffer, Buffer>, "sasl" | "tls" | "tlsServerName">

/** @throws {UsageError} options contradict each other, or a file cannot be read */
export async function readConnection(options: ConnectionOptions): Promise<Connection> {
  return { ...(await readSasl(options)), ...(await readTls(options)) }
}

async function readSasl({ sasl, username, passwordFile }: ConnectionOptions): Promise<Connection> {
  if (sasl === undefined) {
    if (username !== undefined || passwordFile !== undefined)
      throw new UsageError("--username and --password-file need --sasl, which names the mechanism.")
    return {}
  }
  if (!username) throw new UsageError("--sasl needs --username.")
  const password = passwordFile
    ? (await read(passwordFile, "--password-file")).toString().trimEnd()
    : process.env[PASSWORD_VARIABLE]
  if (!password)
    throw new UsageError(
      `--sasl needs a password, in ${PASSWORD_VARIABLE} or in a file that --password-file names.`,
    )
  return { sasl: { mechanism: MECHANISMS[sasl], username, password } }
}

async function readTls(options: ConnectionOptions): Promise<Connection> {
  const { tls, tlsCa, tlsCert, tlsKey, tlsServername, tlsInsecure } = options
  const details = [tlsCa, tlsCert, tlsKey, tlsServername, tlsInsecure].some((detail) => detail !== undefined)
  if (!tls) {
    if (details) throw new UsageError("The --tls-... options need --tls.")
    return {}
  }
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new UsageError("--tls-cert and --tls-key belong together.")
  return {
    tls: {
      ...(tlsCa && { ca: await read(tlsCa, "--tls-ca") }),
      ...(tlsCert && { cert: await read(tlsCert, "--tls-cert") }),
      ...(tlsKey && { key: await read(tlsKey, "--tls-key") }),
      ...(tlsInsecure && { rejectUnauthorized: false }),
    },
    // true: the name of each broker.
    tlsServerName: tlsServername ?? true,
  }
}

const read = (path: string, option: string) =>
  readFile(path).catch((error: Error) => {
    throw new UsageError(`${option}: ${error.message}.`)
  })
