/** The nesting of JSON in strings of JSON: a record in a message that became a dead letter's record. */
const LEVELS = 4

/** The character sequences of JSON in which `text` is a whole string, also in JSON within a string. */
export function needlesOf(text: string): string[] {
  const needles: string[] = []
  let needle = text
  for (let level = 0; level < LEVELS; level++) {
    const encoded = JSON.stringify(needle)
    needle = level === 0 ? encoded : encoded.slice(1, -1)
    needles.push(needle)
  }
  return needles
}

/** The name of a conversation from the Slack bridge and the importer: team and channel. */
export const SLACK_CONVERSATION = /^(\w{1,40})\/(\w{1,40})$/

/** Whether `json` has `text` as a whole string, also in JSON within a string. */
export const mentions = (json: string, text: string): boolean =>
  needlesOf(text).some((needle) => json.includes(needle))
