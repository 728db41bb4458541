import { fileURLToPath } from "node:url"

/** The project's folder, which holds package.json. `fileURLToPath` decodes spaces and non-ASCII letters. */
export const ROOT = fileURLToPath(new URL("../../../", import.meta.url))
