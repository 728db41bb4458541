/**
 * Writes a command's result to standard output, and resolves when the pipe has room. It does not resolve
 * after an error: the listener of `runCommandLine` then ends the process.
 */
export const print = (bytes: string | Uint8Array): Promise<void> =>
  new Promise((resolve) => {
    process.stdout.write(bytes, (error) => {
      if (!error) resolve()
    })
  })

export const printLine = (text: string): Promise<void> => print(`${text}\n`)

/** Writes a sentence for the person at the terminal, apart from the result. */
export const say = (sentence: string): void => void process.stderr.write(`${sentence}\n`)
