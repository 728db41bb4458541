import { envelope, type SlackRequest, signedRequest } from "../../test/setup/slack.ts"
import { makeSignals } from "./signals.ts"

/** Makes Slack events of plain messages with different times, from the texts of the benchmark's signals. */
export function makeEvents(count: number): SlackRequest[] {
  return makeSignals(count).map(({ raw_content }, number) => {
    const ts = `1790000000.${String(number).padStart(6, "0")}`
    const channel = `C0${number % 50}`
    const event = {
      type: "message",
      channel,
      user: `U0${number % 200}`,
      text: raw_content,
      ts,
      event_ts: ts,
      channel_type: "channel",
    }
    return signedRequest(Buffer.from(JSON.stringify(envelope(event, `Ev${number}`))))
  })
}
