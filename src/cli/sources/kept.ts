type Fields = Record<string, unknown>

/** What a failures file keeps of a record that did not become a signal, under names that are not fields of one. */
export const keptLine = (text: string): Fields => ({ _line: text })
export const keptBytes = (bytes: Uint8Array): Fields => ({ _base64: Buffer.from(bytes).toString("base64") })
export const keptMessage = (message: Fields): Fields => ({ _message: message })
