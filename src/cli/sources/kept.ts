type Fields = Record<string, unknown>

/**
 * The forms in which a failures file keeps a record that did not become a signal, under names that no signal
 * has.
 */
export const keptLine = (text: string): Fields => ({ _line: text })
export const keptBytes = (bytes: Uint8Array): Fields => ({ _base64: Buffer.from(bytes).toString("base64") })
export const keptMessage = (message: Fields): Fields => ({ _message: message })
