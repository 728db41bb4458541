/** `JSON.rawJSON` where the runtime has it (V8 since 2023): https://tc39.es/proposal-json-parse-with-source/ */
const rawJson = (JSON as { rawJSON?: (text: string) => unknown }).rawJSON

/**
 * JSON of a value in which a bigint is the number that it is.
 *
 * @throws {TypeError} there is a bigint, and this runtime has no way to write it
 */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_, item) => {
    if (typeof item !== "bigint") return item
    if (Number.isSafeInteger(Number(item))) return Number(item)
    if (!rawJson) throw new TypeError("this runtime can't write a bigint as JSON: send it as text")
    return rawJson(item.toString())
  })
}
