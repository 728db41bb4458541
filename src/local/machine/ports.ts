import { type AddressInfo, createServer } from "node:net"

/** Returns a port of the loopback address that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Whether a server could listen on this port, on any of the machine's loopback addresses. */
export async function isFree(port: number): Promise<boolean> {
  for (const host of ["127.0.0.1", "::1"]) {
    const server = createServer()
    const taken = await new Promise<boolean>((resolve) => {
      server.once("error", (error: NodeJS.ErrnoException) =>
        resolve(error.code === "EADDRINUSE" || error.code === "EACCES"),
      )
      server.listen(port, host, () => resolve(false))
    })
    server.close()
    if (taken) return false
  }
  return true
}
