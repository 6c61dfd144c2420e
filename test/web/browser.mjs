// Debian's chromium under playwright-core: no browser is fetched.
import { access } from 'node:fs/promises'
import { chromium } from 'playwright-core'

const flags = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
]

export async function launch() {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
  await access(executablePath).catch(() => {
    throw new Error(`${executablePath} is missing: apt-get install chromium, or name another one in CHROMIUM`)
  })
  return chromium.launch({ executablePath, args: flags })
}

/** A page of its own profile that keeps what its console complains of and every address it asks. */
export async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: 'light', reducedMotion: 'reduce', ...options })
  const page = await context.newPage()
  const complaints = []
  const asked = []
  page.on('console', m => {
    if (m.type() === 'error' || m.type() === 'warning') complaints.push(`${m.type()}: ${m.text()}`)
  })
  page.on('pageerror', error => complaints.push(`thrown: ${error.stack}`))
  page.on('request', r => asked.push(r.url()))
  page.on('websocket', s => asked.push(s.url()))
  page.setDefaultTimeout(60_000) // ms; only a page that hangs takes so long, a busy machine included
  return { page, context, complaints, asked }
}
