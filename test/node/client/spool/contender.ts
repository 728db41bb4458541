import { createInterface } from "node:readline"
import { openSpool, type Spool } from "../../../../src/client/spool/spool.ts"

/** Opens the folder of each line it reads, prints whether it has the lock, and closes it at an empty line. */
let spool: Spool | undefined
for await (const folder of createInterface({ input: process.stdin })) {
  if (folder === "") {
    await spool?.close()
    spool = undefined
    console.log("closed")
    continue
  }
  try {
    spool = await openSpool(folder)
    console.log("won")
  } catch (error) {
    console.log(`refused: ${(error as Error).message}`)
  }
}
