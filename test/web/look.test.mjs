// How it looks and whom it leaves out: axe-core on each view at both widths and
// in both themes, and a picture of each in shots/ to be looked at.
import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { after, before, test } from 'node:test'
import { launch, open } from './browser.mjs'
import { realEvents, startRelay } from './relay.mjs'

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js')
const shots = fileURLToPath(new URL('shots/', import.meta.url))
let relay
let empty
let browser

before(async () => {
  await mkdir(shots, { recursive: true })
  ;[relay, empty, browser] = await Promise.all([startRelay(realEvents), startRelay(), launch()])
}, { timeout: 180_000 })

after(async () => {
  await browser?.close()
  await relay?.stop()
  await empty?.stop()
})

const views = {
  feed: { path: '/?feed=latest' },
  tune: { path: '/?feed=hot&knob.hours=48', wait: 'input[type=range]' },
  why: { path: '/?feed=hot', act: page => page.locator('button.why').first().click(), wait: '.why li, .why h3' },
  compare: { path: '/?feed=hot&versus=latest', wait: '.pair [data-note]' },
  thread: { path: '/?feed=latest', act: page => page.locator('#notes footer a').filter({ hasText: 'repl' }).first().click(), wait: 'dialog li:nth-child(2) article' },
  profile: { path: '/?feed=latest', act: page => page.locator('#notes .who a').first().click(), wait: 'dialog article' },
  reader: { path: '/?feed=latest', act: page => page.click('button.reader'), wait: 'dialog input' },
  empty: { path: '/?feed=latest', bare: true, wait: 'text=This relay is empty' },
}

for (const width of [360, 1440]) {
  for (const [name, view] of Object.entries(views)) {
    test(`nobody is left out at ${width} px: ${name}`, async t => {
      const { page, context, complaints } = await open(browser, { viewport: { width, height: width < 500 ? 780 : 900 }, bypassCSP: true })
      t.after(() => context.close())
      await page.goto((view.bare ? empty.url : relay.url) + view.path)
      if (!view.bare) await page.waitForSelector('#notes [data-note]')
      await view.act?.(page)
      if (view.wait) await page.waitForSelector(view.wait)
      await rested(page)
      await page.addScriptTag({ path: axe })
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out')
      assert.deepEqual(await serious(page, {}), [], 'light')
      await page.screenshot({ path: `${shots}${name}-${width}-light.png` })
      await page.emulateMedia({ colorScheme: 'dark' })
      assert.deepEqual(await serious(page, { runOnly: ['color-contrast'] }), [], 'dark: only colours change with the theme')
      await page.screenshot({ path: `${shots}${name}-${width}-dark.png` })
      assert.deepEqual(complaints, [])
    })
  }
}

test('feeds of one name say whose they are, and no row sticks out or is cut off', async t => {
  const { page, context, complaints } = await open(browser, { viewport: { width: 360, height: 780 } })
  t.after(() => context.close())
  await page.route('**/v1/feeds', async route => {
    const said = await (await route.fetch()).json()
    const theirs = said.feeds.map((f, i) => ({ ...f, ref: `naddr1${i}`, author: 'ab'.repeat(32) }))
    await route.fulfill({ json: { ...said, feeds: [...theirs, ...said.feeds] } })
  })
  await page.goto(`${relay.url}/?feed=latest`)
  await page.waitForSelector('#notes [data-note]')
  await rested(page)
  const names = (await page.locator('nav[aria-label=Feeds] a').allTextContents()).map(n => n.trim())
  assert.equal(new Set(names).size, names.length, `each name once: ${names}`)
  assert.ok(names.length > 4 && names[0].endsWith('· this relay') && names[1].includes('· npub1'), `${names}`)
  for (let width = 360; width <= 1440; width += 60) {
    await page.setViewportSize({ width, height: 900 })
    const cut = await page.evaluate(() => {
      const nav = document.querySelector('nav[aria-label=Feeds]')
      const low = nav.scrollHeight > nav.clientHeight
      return { wide: document.documentElement.scrollWidth - innerWidth, low, hidden: nav.scrollWidth > nav.clientWidth && getComputedStyle(nav).overflowX === 'hidden' }
    })
    assert.ok(cut.wide <= 0 && !cut.low && !cut.hidden, `at ${width} px: ${JSON.stringify(cut)}`)
    if (width === 1080) await page.screenshot({ path: `${shots}twice-${width}.png` })
  }
  assert.deepEqual(complaints, [])
})

/** Waits until nothing on the page has changed for a while: names arrive after the notes. */
const rested = page =>
  page.evaluate(
    () =>
      new Promise(resolve => {
        const still = 300 // ms
        let wait = setTimeout(resolve, still)
        new MutationObserver(() => {
          clearTimeout(wait)
          wait = setTimeout(resolve, still)
        }).observe(document.body, { childList: true, subtree: true, characterData: true })
      }),
  )

async function serious(page, options) {
  const found = await page.evaluate(options => window.axe.run(document, { resultTypes: ['violations'], ...options }), options)
  const list = found.violations.filter(v => v.impact === 'serious' || v.impact === 'critical')
  return list.map(v => `${v.id}: ${v.nodes.map(n => n.html.slice(0, 160)).join(' | ')}`)
}
