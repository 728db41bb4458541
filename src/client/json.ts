/**
 * `JSON.rawJSON` where the runtime has it (V8 since 2023): https://tc39.es/proposal-json-parse-with-source/
 */
const rawJson = (JSON as { rawJSON?: (text: string) => unknown }).rawJSON

/**
 * JSON of a value; a bigint becomes a number with all its digits.
 *
 * @throws {TypeError} the value has a bigint, and this runtime cannot write it
 */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_, item) => {
    if (typeof item !== "bigint") return item
    if (Number.isSafeInteger(Number(item))) return Number(item)
    if (!rawJson) throw new TypeError("This runtime cannot write a bigint as JSON. Send it as text.")
    return rawJson(item.toString())
  })
}
