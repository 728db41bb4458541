import { HELP } from "./help.ts"
import { UsageError } from "./usage.ts"

/** The options that the help of a command names. */
const optionsOf = (text: string) => [...new Set([...text.matchAll(/--[a-z][a-z-]*/g)].map(([option]) => option))].sort()

const COMMANDS = Object.entries(HELP).filter(([name]) => name !== "")

/** The words after `before`, by position: a command's first word, its second, then its options. */
const SECOND: Record<string, string[]> = {
  import: ["slack", "sql", "jsonl", "csv"],
  consume: ["kafka"],
  verify: ["slack", "sql", "jsonl", "csv"],
  completion: ["bash", "zsh", "fish"],
}

const ALL_OPTIONS = [...new Set(COMMANDS.flatMap(([, text]) => optionsOf(text)))].sort()

const BASH = `_signals() {
  local word="\${COMP_WORDS[COMP_CWORD]}" choices
  case "$COMP_CWORD" in
    1) choices="${Object.keys(SECOND).join(" ")}" ;;
    2) case "\${COMP_WORDS[1]}" in
${Object.entries(SECOND)
  .map(([first, second]) => `      ${first}) choices="${second.join(" ")}" ;;`)
  .join("\n")}
    esac ;;
    *) choices="${ALL_OPTIONS.join(" ")}" ;;
  esac
  COMPREPLY=($(compgen -W "$choices" -- "$word"))
  [ \${#COMPREPLY[@]} -eq 0 ] && COMPREPLY=($(compgen -f -- "$word"))
}
complete -F _signals signals
`

const SCRIPTS: Record<string, string> = {
  bash: BASH,
  // zsh reads bash's completions through bashcompinit.
  zsh: `autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n${BASH}`,
  fish: `${Object.entries(SECOND)
    .flatMap(([first, second]) => [
      `complete -c signals -n __fish_use_subcommand -a ${first}`,
      ...second.map((word) => `complete -c signals -n "__fish_seen_subcommand_from ${first}" -a ${word}`),
    ])
    .join("\n")}\n${ALL_OPTIONS.map((option) => `complete -c signals -l ${option.slice(2)}`).join("\n")}\n`,
}

/** What `shell` needs to complete the command line. Throws `UsageError` for a shell it does not know. */
export function completionScript(shell: string | undefined): string {
  const script = SCRIPTS[shell ?? ""]
  if (script === undefined) throw new UsageError("Which shell? bash, zsh or fish.")
  return script
}
