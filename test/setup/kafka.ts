import { execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { freePort } from "../../src/local/machine/ports.ts"

/** Where the broker's jars are; see kafka.xml for how they come there. */
const JARS = process.env.KAFKA_JARS ?? fileURLToPath(new URL("../../.kafka", import.meta.url))

function hasJava(): boolean {
  try {
    execFileSync("java", ["-version"], { stdio: "ignore" })
    return true
  } catch {
    return false
  }
}

export const HAS_KAFKA =
  existsSync(JARS) && readdirSync(JARS).some((name) => name.startsWith("kafka_")) && hasJava()

if (!HAS_KAFKA)
  console.log(
    "skipped: there is no JDK, or no broker's jars in .kafka or KAFKA_JARS; test/setup/kafka.xml says how to get them",
  )

/** A real broker of one node, its data in a temporary folder. */
export interface Broker {
  /** Without any proof. */
  address: string
  /** SASL_PLAINTEXT, and SASL_SSL with a certificate of `ca` for localhost. */
  sasl: string
  saslSsl: string
  /** Path of the certificate of the broker's own CA. */
  ca: string
  stop(): Promise<void>
}

/** The user whom the broker knows by PLAIN and by SCRAM. */
export const USER = { name: "signals", password: "a broker's password" }

const MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] as const

const JAAS = {
  PLAIN: `org.apache.kafka.common.security.plain.PlainLoginModule required user_${USER.name}="${USER.password}";`,
  "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
  "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
}

/**
 * A CA, and a certificate of it for localhost; the second file holds key and certificate, as a broker reads
 * them.
 */
function makeCertificates(folder: string): { ca: string; keystore: string } {
  const file = (name: string) => join(folder, name)
  const openssl = (...args: string[]) => execFileSync("openssl", args, { stdio: "ignore" })
  const made = ["-newkey", "rsa:2048", "-nodes", "-days", "2"]
  openssl("req", "-x509", ...made, "-subj", "/CN=test CA", "-keyout", file("ca.key"), "-out", file("ca.pem"))
  openssl(
    "req",
    ...made.slice(0, 3),
    "-subj",
    "/CN=localhost",
    "-keyout",
    file("broker.key"),
    "-out",
    file("broker.csr"),
  )
  writeFileSync(file("names"), "subjectAltName=DNS:localhost")
  const by = [
    "-CA",
    file("ca.pem"),
    "-CAkey",
    file("ca.key"),
    "-CAcreateserial",
    "-extfile",
    file("names"),
    "-days",
    "2",
  ]
  openssl("x509", "-req", "-in", file("broker.csr"), ...by, "-out", file("broker.pem"))
  const keystore = file("keystore.pem")
  writeFileSync(keystore, readFileSync(file("broker.key"), "utf8") + readFileSync(file("broker.pem"), "utf8"))
  return { ca: file("ca.pem"), keystore }
}

export async function startBroker(): Promise<Broker> {
  const folder = await mkdtemp(join(tmpdir(), "signal-ingest-kafka-"))
  const [port, controller, sasl, saslSsl] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ]
  const { ca, keystore } = makeCertificates(folder)
  const settings = join(folder, "server.properties")
  await writeFile(
    settings,
    `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${controller}
listeners=PLAINTEXT://127.0.0.1:${port},SASL_PLAINTEXT://127.0.0.1:${sasl},SASL_SSL://127.0.0.1:${saslSsl},CONTROLLER://127.0.0.1:${controller}
advertised.listeners=PLAINTEXT://127.0.0.1:${port},SASL_PLAINTEXT://127.0.0.1:${sasl},SASL_SSL://localhost:${saslSsl}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
sasl.enabled.mechanisms=${MECHANISMS.join(",")}
${["sasl_plaintext", "sasl_ssl"].flatMap((name) => MECHANISMS.map((mechanism) => `listener.name.${name}.${mechanism.toLowerCase()}.sasl.jaas.config=${JAAS[mechanism]}`)).join("\n")}
ssl.keystore.type=PEM
ssl.keystore.location=${keystore}
log.dirs=${join(folder, "data")}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
num.partitions=3
auto.create.topics.enable=true
`,
  )
  const classpath = join(JARS, "*")
  const users = ["SCRAM-SHA-256", "SCRAM-SHA-512"].flatMap((mechanism) => [
    "--add-scram",
    `${mechanism}=[name=${USER.name},password="${USER.password}"]`,
  ])
  const format = [
    "kafka.tools.StorageTool",
    "format",
    "-t",
    "AAAAAAAAAAAAAAAAAAAAAQ",
    "-c",
    settings,
    ...users,
  ]
  execFileSync("java", ["-cp", classpath, ...format], { stdio: "ignore" })
  const child = spawn("java", ["-Xmx512m", "-cp", classpath, "kafka.Kafka", settings], { stdio: "ignore" })
  const ended = once(child, "exit")
  while (!(await isListening(port))) await sleep(100)
  return {
    address: `127.0.0.1:${port}`,
    sasl: `127.0.0.1:${sasl}`,
    saslSsl: `localhost:${saslSsl}`,
    ca,
    async stop() {
      child.kill("SIGTERM")
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
}

const isListening = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy()
      resolve(true)
    })
    socket.once("error", () => resolve(false))
  })
