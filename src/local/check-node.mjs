// Plain JavaScript, run before the scripts in TypeScript: an older Node can't even read those.
const [major, minor] = process.versions.node.split(".").map(Number)
if (major < 22 || (major === 22 && minor < 18)) {
  console.error(
    `This is Node ${process.versions.node}, and 22.18 or newer is needed: npm ci brings one, with its install scripts allowed (npm ci --ignore-scripts=false).`,
  )
  process.exitCode = 1
}
