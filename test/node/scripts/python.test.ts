import { execFile } from "node:child_process"
import { join } from "node:path"
import { promisify } from "node:util"
import { expect, it } from "vitest"
import { useFolder } from "../../setup/hooks/rig.ts"

const folder = useFolder()

it("npm run python is skipped with a word on a machine without Python", async () => {
  const script = join(import.meta.dirname, "../../../scripts/python.ts")
  const { stdout } = await promisify(execFile)(process.execPath, [script], {
    env: { PATH: folder.path, PYENV_ROOT: folder.path },
  })
  expect(stdout).toBe("skipped: this machine has no Python from 3.10 on with venv and pip\n")
})
