type Fields = Record<string, unknown>

/** What an export tells of people and channels beside the messages. */
export class SlackNames {
  readonly #users = new Map<string, string>()
  readonly #channels = new Map<string, string>()
  readonly #channelIds = new Map<string, string>()
  readonly #teams = new Map<string, number>()

  addUsers(users: unknown): void {
    for (const user of listOf(users)) {
      const { id, name, real_name, team_id, profile } = user
      const shown = (profile as Fields | undefined)?.display_name || name || real_name
      if (typeof id === "string" && typeof shown === "string") this.#users.set(id, shown)
      if (typeof team_id === "string") this.#teams.set(team_id, (this.#teams.get(team_id) ?? 0) + 1)
    }
  }

  /** Direct messages have no name: those in them are named instead, and their folder is called by the id. */
  addChannels(channels: unknown): void {
    for (const channel of listOf(channels)) {
      const { id, name, members } = channel
      if (typeof id !== "string") continue
      if (typeof name === "string" && name !== "") {
        this.#channels.set(id, name)
        this.#channelIds.set(name, id)
      } else if (Array.isArray(members))
        this.#channels.set(id, members.map((member) => this.userName(member) ?? String(member)).join(", "))
    }
  }

  addTeam(id: unknown): void {
    // What says outright which workspace it is outweighs any number of its users.
    if (typeof id === "string") this.#teams.set(id, Number.MAX_SAFE_INTEGER)
  }

  userName = (id: unknown): string | undefined => (typeof id === "string" ? this.#users.get(id) : undefined)
  channelName = (id: unknown): string | undefined => (typeof id === "string" ? this.#channels.get(id) : undefined)
  /** The id of the channel whose messages are in this folder. */
  channelId = (folder: string): string | undefined =>
    this.#channelIds.get(folder) ?? (/^[CDG][A-Z0-9]{5,}$/.test(folder) ? folder : undefined)

  /** The workspace: most people of an export are of it, and guests of others. */
  get team(): string | undefined {
    return [...this.#teams].sort(([, one], [, other]) => other - one)[0]?.[0]
  }
}

const listOf = (value: unknown): Fields[] =>
  Array.isArray(value) ? value.filter((one) => typeof one === "object" && one !== null) : []
