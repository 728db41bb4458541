import { type FileHandle, open, rename } from "node:fs/promises"

/** Writes a file completely or not at all. It is on the disk when this resolves. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const file = await open(`${path}.new`, "w")
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(`${path}.new`, path)
}

/** Writes all bytes at a place of a file. They are on the disk when this resolves. */
export async function writeAt(file: FileHandle, bytes: Uint8Array, place: number): Promise<void> {
  // A write may end early without an error, as on a disk that is nearly full.
  for (let written = 0; written < bytes.length; )
    written += (await file.write(bytes, written, bytes.length - written, place + written)).bytesWritten
  await file.datasync()
}
