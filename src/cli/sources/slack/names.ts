type Fields = Record<string, unknown>

/** Names of people and channels, and the workspace, from the lists of a history. */
export class SlackNames {
  readonly #users = new Map<string, string>()
  readonly #channels = new Map<string, string>()
  readonly #channelIds = new Map<string, string>()
  readonly #teams = new Map<string, number>()
  readonly #parent: SlackNames | undefined
  #team: string | undefined

  /** @param parent has the names that are not known here */
  constructor(parent?: SlackNames) {
    this.#parent = parent
  }

  addUsers(users: unknown): void {
    for (const user of listOf(users)) {
      const { id, name, real_name, team_id, profile } = user
      const shown = (profile as Fields | undefined)?.display_name || name || real_name
      if (typeof id === "string" && typeof shown === "string") this.#users.set(id, shown)
      if (typeof team_id === "string") this.#countTeam(team_id, 1)
    }
  }

  /** A direct message has no name, so it gets the names of its members; its folder has the id as name. */
  addChannels(channels: unknown): void {
    for (const channel of listOf(channels)) {
      const { id, name, members } = channel
      if (typeof id !== "string") continue
      if (typeof name === "string" && name !== "") {
        this.#channels.set(id, name)
        this.#channelIds.set(folderName(name), id)
      } else if (Array.isArray(members))
        this.#channels.set(
          id,
          members
            .filter(isText)
            .map((member) => this.userName(member) ?? member)
            .join(", "),
        )
    }
  }

  /** Adds the workspace from its own record, which outweighs any number of users. */
  addTeam(id: unknown): void {
    if (typeof id === "string") this.#countTeam(id, Number.MAX_SAFE_INTEGER / 2)
  }

  userName(id: unknown): string | undefined {
    return typeof id === "string" ? (this.#users.get(id) ?? this.#parent?.userName(id)) : undefined
  }

  channelName(id: unknown): string | undefined {
    return typeof id === "string" ? (this.#channels.get(id) ?? this.#parent?.channelName(id)) : undefined
  }

  /** Returns the id of the channel whose messages are in this folder. */
  channelId(folder: string): string | undefined {
    return this.listedId(folder) ?? (/^[CDG][A-Z0-9]{5,}$/.test(folder) ? folder : undefined)
  }

  /** The same, only of a channel that a list names. */
  listedId(folder: string): string | undefined {
    const id = this.#channelIds.get(folderName(folder)) ?? this.#parent?.listedId(folder)
    return id ?? (this.#channels.has(folder) ? folder : undefined)
  }

  /** The workspace: that of most people in an export, since guests belong to others. */
  get team(): string | undefined {
    return this.#team ?? this.#parent?.team
  }

  #countTeam(id: string, by: number): void {
    this.#teams.set(id, (this.#teams.get(id) ?? 0) + by)
    if (this.#team === undefined || (this.#teams.get(id) ?? 0) > (this.#teams.get(this.#team) ?? 0))
      this.#team = id
  }
}

/** macOS writes é as e with an accent behind it, also into a ZIP; the lists have it as one character. */
const folderName = (name: string) => name.normalize("NFC")

const isText = (value: unknown): value is string => typeof value === "string"

const listOf = (value: unknown): Fields[] =>
  Array.isArray(value) ? value.filter((one) => typeof one === "object" && one !== null) : []
