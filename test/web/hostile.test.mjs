// What strangers write must never run, load or disguise anything; and an empty
// relay must be no dead end.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { newAuthor } from './author.mjs'
import { launch, open } from './browser.mjs'
import { startRelay } from './relay.mjs'

let relay
let browser

before(async () => {
  ;[relay, browser] = await Promise.all([startRelay(), launch()])
}, { timeout: 120_000 })

after(async () => {
  await browser?.close()
  await relay?.stop()
})

const attacks = [
  '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>',
  '<svg onload=window.pwned=1> <iframe srcdoc="<script>parent.pwned=1</script>"></iframe>',
  'javascript:window.pwned=1 [x](javascript:window.pwned=1) data:text/html,<script>window.pwned=1</script>',
  'https://evil.example/"onmouseover="window.pwned=1 https://evil.example/<script>window.pwned=1</script>',
  'https://evil.example/picture.png https://user:password@evil.example/x.jpg',
  '{@html "<img src=x onerror=window.pwned=1>"} {{constructor.constructor("window.pwned=1")()}} ${window.pwned=1}',
  `\u202Etxet desrever \u2066${'\u0301'.repeat(2000)} z${'͎'.repeat(3000)}`,
  `#[0] #[1] nostr:npub1${'q'.repeat(58)} ${'A'.repeat(4000)}`,
]

test('an empty relay tells how to fill it, and shows the first note as it comes', async t => {
  const { page, context, complaints } = await open(browser)
  t.after(() => context.close())
  await page.goto(`${relay.url}/?feed=latest`)
  await page.getByRole('heading', { name: 'This relay is empty. Fill it.' }).waitFor()
  const text = await page.locator('#notes').innerText()
  for (const must of [relay.socket, 'agora import', 'agora sync']) assert.ok(text.includes(must), must)
  const note = await newAuthor(relay.socket).publish({ content: 'The first' })
  await page.click('.fresh button')
  await page.locator(`[data-note="${note.id}"]`).waitFor()
  assert.deepEqual(complaints, [])
})

test('strangers’ text, names, tags and links never run, load or leave', async t => {
  const ids = []
  for (const attack of attacks) {
    const author = newAuthor(relay.socket)
    const profile = { name: attack.slice(0, 300), display_name: attack.slice(0, 300), about: attack, website: 'javascript:window.pwned=1', picture: 'https://evil.example/p.png', nip05: attack.slice(0, 200), banner: 'https://evil.example/b.png' }
    await author.publish({ kind: 0, content: JSON.stringify(profile) })
    ids.push((await author.publish({ content: attack, tags: [['p', attack], ['e', attack.slice(0, 60)], ['subject', attack.slice(0, 100)]] })).id)
    ids.push((await author.publish({ kind: 30023, content: attack, tags: [['d', 'x'], ['title', attack.slice(0, 200)], ['summary', attack.slice(0, 500)], ['image', 'https://evil.example/i.png']] })).id)
    ids.push((await author.publish({ content: attack, tags: [['content-warning', attack.slice(0, 200)]] })).id)
  }
  const { page, context, complaints, asked } = await open(browser, { viewport: { width: 360, height: 780 } })
  t.after(() => context.close())
  page.on('dialog', () => assert.fail('something opened a dialog'))
  await fresh(page, `/?feed=latest`, ids)
  const covers = page.getByRole('button', { name: 'Show it' })
  assert.equal(await covers.count(), attacks.length, 'what is marked as sensitive is covered')
  while (await covers.count()) await covers.first().click()
  for (const link of await page.locator('#notes .text a').all()) await link.hover()
  await harmless(page)
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out')
  const tall = await page.$$eval('#notes article', list => list.map(n => n.offsetHeight))
  assert.ok(Math.max(...tall) < 1200, `a note takes ${Math.max(...tall)} px`)
  await page.goto(`${relay.url}/?feed=latest&note=${ids[0]}`)
  await page.getByRole('dialog').locator('article').first().waitFor()
  await harmless(page)
  await page.goto(`${relay.url}/?feed=latest&versus=one-per-author`)
  await page.locator('.pair [data-note]').first().waitFor()
  await harmless(page)
  assert.deepEqual(complaints, [])
  assert.deepEqual(asked.filter(u => new URL(u).host !== new URL(relay.url).host), [], 'no picture or link was fetched')
})

/** Loads a place until the notes are on it: the feeds count in their own time. */
async function fresh(page, path, ids) {
  for (const late = Date.now() + 90_000; Date.now() < late; await page.waitForTimeout(500)) {
    await page.goto(relay.url + path)
    await page.waitForSelector('#notes [data-note]')
    const shown = await page.$$eval('#notes [data-note]', list => list.map(n => n.dataset.note))
    if (ids.every(id => shown.includes(id))) return
  }
  assert.fail('the notes are not on the page')
}

async function harmless(page) {
  await page.waitForTimeout(300)
  assert.equal(await page.evaluate(() => window.pwned), undefined)
  assert.equal(await page.locator('iframe, object, embed, script:not([src^="/assets/"]), [onerror], [onload], [onmouseover]').count(), 0)
  assert.equal(await page.locator('img:not([src="/assets/icon.svg"])').count(), 0)
  const links = await page.$$eval('a[href]', list => list.map(a => ({ href: a.href, rel: a.rel })))
  for (const { href, rel } of links) {
    const url = new URL(href)
    assert.match(url.protocol, /^https?:$/, href)
    assert.equal(url.username, '')
    if (url.host !== new URL(relay.url).host) assert.match(rel, /noopener.*noreferrer.*nofollow/, href)
  }
}

test('the address itself is a stranger’s text, too', async t => {
  const { page, context, complaints } = await open(browser)
  t.after(() => context.close())
  const bad = encodeURIComponent('"><img src=x onerror=window.pwned=1>')
  await page.goto(`${relay.url}/?feed=${bad}&knob.${bad}=1&knob.hours=1e999&versus=${bad}&viewer=${bad}&note=${bad}&person=${bad}`)
  await page.getByText('This relay has no feed').waitFor()
  await harmless(page)
  assert.deepEqual(complaints, [])
})

test('the policy stops a script even where one got onto the page', async t => {
  const { page, context, complaints } = await open(browser)
  t.after(() => context.close())
  const resp = await page.goto(relay.url)
  const policy = resp.headers()['content-security-policy']
  for (const part of ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "require-trusted-types-for 'script'", "frame-ancestors 'none'"]) assert.ok(policy.includes(part), part)
  const threw = await page.evaluate(() => {
    const script = document.createElement('script')
    try {
      document.body.innerHTML = '<img src=x onerror="window.pwned=1">'
      return false
    } catch {
      try {
        script.textContent = 'window.pwned=1'
      } catch {
        document.body.append(script)
      }
      return true
    }
  })
  await page.waitForTimeout(200)
  assert.ok(threw, 'a string became HTML')
  assert.equal(await page.evaluate(() => window.pwned), undefined)
  assert.ok(complaints.length > 0, 'the browser says so')
})
