import { execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readdirSync } from "node:fs"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { freePort } from "../../src/local/ports.ts"

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

export const HAS_KAFKA = existsSync(JARS) && readdirSync(JARS).some((name) => name.startsWith("kafka_")) && hasJava()

if (!HAS_KAFKA)
  console.log("skipped: there is no JDK, or no broker's jars in .kafka or KAFKA_JARS; test/setup/kafka.xml says how to get them")

/** A real broker of one node, its data in a temporary folder. */
export interface Broker {
  address: string
  stop(): Promise<void>
}

export async function startBroker(): Promise<Broker> {
  const folder = await mkdtemp(join(tmpdir(), "signal-ingest-kafka-"))
  const [port, controller] = [await freePort(), await freePort()]
  const settings = join(folder, "server.properties")
  await writeFile(
    settings,
    `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${controller}
listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}
advertised.listeners=PLAINTEXT://127.0.0.1:${port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
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
  execFileSync("java", ["-cp", classpath, "kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", settings], {
    stdio: "ignore",
  })
  const child = spawn("java", ["-Xmx512m", "-cp", classpath, "kafka.Kafka", settings], { stdio: "ignore" })
  const ended = once(child, "exit")
  return {
    address: `127.0.0.1:${port}`,
    async stop() {
      child.kill("SIGTERM")
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
}
