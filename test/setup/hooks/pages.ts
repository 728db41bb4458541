import type { Browser, BrowserContextOptions } from "playwright-core"
import { afterAll, beforeAll } from "vitest"
import { openBrowser, openPage, type WatchedPage } from "../browser.ts"
import { type LocalService, startLocalService } from "../local-service.ts"

/** The service of `npm start`, and a browser for its pages. */
export interface LocalPages {
  address: string
  /** Opens a page at a path of the service, or at a whole address of it. */
  open(path?: string, options?: BrowserContextOptions): Promise<WatchedPage>
}

/** Starts `npm start` and a browser before the tests of this file or block, and stops both after them. */
export function useLocalPages(settings: Record<string, string> = {}): LocalPages {
  let service: LocalService | undefined
  let browser: Browser | undefined
  const pages: LocalPages = {
    address: "",
    open(path = "/", options) {
      if (!browser) throw new Error("The browser has not started.")
      return openPage(browser, new URL(path, pages.address).href, options)
    },
  }
  beforeAll(async () => {
    ;[service, browser] = await Promise.all([startLocalService(settings), openBrowser()])
    pages.address = service.address
  })
  afterAll(async () => {
    await browser?.close()
    await service?.stop()
  })
  return pages
}
