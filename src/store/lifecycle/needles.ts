/** How often JSON may be text in JSON: a record in a message that became a dead letter's record. */
const LEVELS = 4

/** What stands in JSON where `text` is a whole text of it, also where that JSON is a text in other JSON. */
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

/** The name of a conversation that the Slack bridge and the importer make: team and channel. */
export const SLACK_CONVERSATION = /^(\w{1,40})\/(\w{1,40})$/

/** Whether `json` has `text` as a whole text, also in JSON that it has as a text. */
export const mentions = (json: string, text: string): boolean => needlesOf(text).some((needle) => json.includes(needle))
