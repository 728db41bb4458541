const ADDRESS = /^(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:.]+\])$/i

/**
 * Whether a request names a host that is not the service's. The owner of any DNS name can point it at this
 * machine, and a page with that name could then read every answer (DNS rebinding). Nobody can do that with an
 * address.
 *
 * @param host the header, with or without a port
 */
export function isForeignHost(host: string, known: readonly string[]): boolean {
  const name = host.replace(/:\d+$/, "").toLowerCase()
  return !(name === "localhost" || ADDRESS.test(name) || known.includes(name))
}
