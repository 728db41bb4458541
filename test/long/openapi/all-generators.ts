import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { startLocalService } from "../../setup/local-service.ts"
import {
  fetchOpenapiGenerator,
  type Generator,
  has,
  openapiGeneratorPython,
  openapiPythonClient,
  openapiTypescript,
  typescriptFetch,
} from "./generators.ts"

/**
 * `npm run openapi:clients`: makes a client with every generator, compiles it, and has it send a batch to
 * `npm start`.
 */

const GENERATORS: { name: string; generator: Generator; needs: string[] }[] = [
  { name: "openapi-typescript", generator: openapiTypescript, needs: [] },
  { name: "openapi-generator typescript-fetch", generator: typescriptFetch, needs: ["java", "mvn"] },
  { name: "openapi-generator python", generator: openapiGeneratorPython, needs: ["java", "mvn", "python3"] },
  { name: "openapi-python-client", generator: openapiPythonClient, needs: ["python3"] },
]

const service = await startLocalService()
const description = await (await fetch(`${service.address}/openapi.json`)).text()
try {
  for (const { name, generator, needs } of GENERATORS) {
    const missing: string[] = []
    for (const command of needs) if (!(await has(command))) missing.push(command)
    if (missing.length > 0) {
      console.log(`${name}: skipped, this machine has no ${missing.join(" and no ")}`)
      continue
    }
    const folder = await mkdtemp(join(tmpdir(), "signal-ingest-client-"))
    try {
      await writeFile(join(folder, "openapi.json"), description)
      if (needs.includes("mvn")) await fetchOpenapiGenerator(folder)
      const printed = await generator(folder, service.address)
      const good = printed.successful > 0 && printed.listed.length === 1 && printed.state === "stored"
      if (!good) process.exitCode = 1
      console.log(`${name}: ${good ? "ok" : "wrong"} ${JSON.stringify(printed)}`)
    } catch (error) {
      process.exitCode = 1
      console.log(`${name}: failed\n${error instanceof Error ? error.message : error}`)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }
} finally {
  await service.stop()
}
