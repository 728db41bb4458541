import { describe, expect, it } from "vitest"
import { SlackNames } from "../../../../../src/cli/sources/slack/names.ts"

describe("the names of a Slack history", () => {
  it("leave out members that are no text, whatever the runtime makes of them", () => {
    const names = new SlackNames()
    names.addUsers([{ id: "U1", name: "ann" }])
    names.addChannels([
      {
        id: "D1",
        members: ["U1", { toString: 1, valueOf: 1 }, JSON.rawJSON("12345678901234567890"), null, "U2"],
      },
    ])
    expect(names.channelName("D1")).toBe("ann, U2")
  })
})
