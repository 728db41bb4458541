import { accessSync, constants, existsSync } from "node:fs"
import { delimiter, join } from "node:path"
import { AxeBuilder } from "@axe-core/playwright"
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core"
import { expect } from "vitest"

const NAMES = ["chromium", "chromium-browser", "google-chrome"]

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** The system's Chromium: where CHROMIUM_PATH says, or on the PATH. Undefined where there is none. */
export const CHROMIUM = process.env.CHROMIUM_PATH
  ? [process.env.CHROMIUM_PATH].find(existsSync)
  : (process.env.PATH ?? "")
      .split(delimiter)
      .flatMap((folder) => NAMES.map((name) => join(folder, name)))
      .find(isExecutable)

if (!CHROMIUM)
  console.log("skipped: there is no Chromium on this machine; install it, or name it in CHROMIUM_PATH")

/** What would ask the internet for something is off. */
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
]
const MORE_FLAGS = ["--disable-component-update", "--disable-sync"]

export const openBrowser = (): Promise<Browser> =>
  chromium.launch({ executablePath: CHROMIUM ?? "", args: [...FLAGS, ...MORE_FLAGS], headless: true })

/** A page that remembers what a good page never does. */
export interface WatchedPage {
  page: Page
  /** Requests to anywhere else, errors of scripts, and what the console calls an error or a violation. */
  complaints: string[]
}

/** Opens a page in a context of its own. Statuses that a test provokes are no complaint. */
export async function openPage(
  browser: Browser,
  address: string,
  options: BrowserContextOptions = {},
): Promise<WatchedPage> {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    reducedMotion: "reduce",
    ...options,
  })
  const page = await context.newPage()
  const complaints: string[] = []
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url())
    if (origin !== new URL(address).origin && !["data:", "blob:"].includes(protocol))
      complaints.push(`asked ${origin}`)
  })
  page.on("pageerror", (error) => complaints.push(`threw ${error.message}`))
  page.on("console", (message) => {
    if (message.type() === "error" && !/Failed to load resource/.test(message.text()))
      complaints.push(message.text())
  })
  await page.goto(address)
  return { page, complaints }
}

/** What axe finds that a person would stumble over. `within` leaves the rest of the page out. */
export async function seriousFindings(page: Page, within?: string): Promise<string[]> {
  const builder = new AxeBuilder({ page })
  const { violations } = await (within === undefined ? builder : builder.include(within)).analyze()
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`)
}

/** Whether anything of the page can only be reached by scrolling sideways. */
export const scrollsSideways = (page: Page) =>
  page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth)

/** Pictures for people to look at; git ignores the folder. */
export const picture = (page: Page, name: string, options = { fullPage: true }) =>
  page.screenshot({ path: `test-results/${name}.png`, ...options })

/** The number that the dashboard shows, as it was answered. */
export const figure = async (page: Page, name: string) =>
  Number(await page.getAttribute(`[data-figure="${name}"]`, "data-value"))

export const expectNoComplaints = ({ complaints }: WatchedPage) => expect(complaints).toEqual([])
