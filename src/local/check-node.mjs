// Plain JavaScript: it runs before the TypeScript files, which an older Node cannot read.
const [major, minor] = process.versions.node.split(".").map(Number)
if (major < 22 || (major === 22 && minor < 18)) {
  console.error(
    `This is Node ${process.versions.node}, but the project needs 22.18 or newer. Run npm ci --ignore-scripts=false, which installs one.`,
  )
  process.exitCode = 1
}
