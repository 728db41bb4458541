import { fileURLToPath } from "node:url"

/** The project's folder, which holds package.json; also when its path has spaces or letters beyond ASCII. */
export const ROOT = fileURLToPath(new URL("../../", import.meta.url))
