// Each client's own question to a feed, over a real socket to the real program
// with real events in it; then that client's own sort, and what a person sees.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import * as nip44 from 'nostr-tools/nip44'
import { AbstractRelay } from 'nostr-tools/abstract-relay'
import { finalizeEvent, generateSecretKey, getPublicKey, verifyEvent as verifySlowly } from 'nostr-tools/pure'
import WebSocket from 'ws'
import { startRelay } from './relay.mjs'
import { Wire } from './socket.mjs'

const realEvents = fileURLToPath(new URL('../../testdata/nostr/events.jsonl.zst', import.meta.url))
const sampled = event => ![6, 16].includes(event.kind) || event.created_at % 20 > 0 || verifyEvent(event) // one test looks at every repost
const verified = new Map() // by the whole event: many clients are shown the same
function verifyEvent(event) {
  const text = JSON.stringify(event)
  if (!verified.has(text)) verified.set(text, verifySlowly(JSON.parse(text)))
  return verified.get(text)
}

const now = () => Math.floor(Date.now() / 1000)
const author = () => {
  const secret = generateSecretKey()
  const sign = draft => finalizeEvent({ created_at: now(), tags: [], content: '', kind: 1, ...draft }, secret)
  return { secret, pubkey: getPublicKey(secret), sign }
}

let relay
let root // a connection to the relay itself
let feeds // name -> as /v1/feeds tells it

before(async () => {
  relay = await startRelay({ settings: ['--feeds-age=36500d'], events: realEvents })
  root = await Wire.open(relay.url)
  const writers = Array.from({ length: 30 }, author)
  for (const [i, writer] of writers.entries()) { // what was written in the last two days, for clients that ask for no more
    const note = await root.publish(writer.sign({ content: `Fresh ${i}`, created_at: now() - 3600 * i - 60 }))
    if (i % 2) await root.publish(author().sign({ kind: 7, content: '+', tags: [['e', note.id], ['p', note.pubkey]] }))
  }
  await settled()
  feeds = Object.fromEntries((await get('/v1/feeds')).feeds.map(f => [f.ref, f]))
}, { timeout: 240_000 })

after(async () => {
  root?.close()
  await relay?.stop()
})

async function get(path, status = 200, options = {}) {
  const resp = await fetch(relay.url.replace('ws', 'http') + path, options)
  const text = await resp.text()
  assert.equal(resp.status, status, `${path}: ${text.slice(0, 300)}`)
  return JSON.parse(text)
}

/** Waits until the feeds have counted what was put in: the page stays for two seconds. */
async function settled() {
  let same = 0
  let before = ''
  for (const late = Date.now() + 120_000; same < 4; await new Promise(r => setTimeout(r, 500))) {
    assert.ok(Date.now() < late, 'the feeds do not come to rest')
    const page = JSON.stringify(ids((await get('/v1/feeds/hot?limit=100')).items.map(i => i.event)))
    same = page === before && page.length > 5000 ? same + 1 : 0
    before = page
  }
}

const ids = events => events.map(e => e.id)

/** The page as HTTP tells it, as deep as a socket may look; each note with its score. */
async function page(feed, filter, setting = '') {
  const deep = 1000
  const kinds = filter.kinds ? `&kinds=${filter.kinds.join(',')}` : ''
  const events = []
  for (let cursor = ''; events.length < deep; ) {
    const part = await get(`/v1/feeds/${feed}?limit=500&scores=true${kinds}${setting && `&${setting}`}${cursor && `&cursor=${cursor}`}`)
    events.push(...part.items.map(i => ({ ...i.event, score: i.score })))
    if (!(cursor = part.cursor)) break
  }
  return events.slice(0, deep)
}

/** Asks through nostr-tools, which checks each event against the filter and its signature. */
async function stored(path, filter) {
  const connection = new AbstractRelay(relay.url + path, { verifyEvent: sampled, websocketImplementation: WebSocket })
  await connection.connect()
  try {
    return await new Promise((resolve, reject) => {
      const rows = []
      connection.subscribe([filter], {
        onevent: event => rows.push(event),
        oninvalidevent: event => reject(new Error(`thrown away by the client: ${JSON.stringify(event).slice(0, 300)}`)),
        oneose: () => resolve(rows),
        onclose: reason => reject(new Error(reason)),
        eoseTimeout: 60_000,
      })
    })
  } finally {
    connection.close()
  }
}

const newestFirst = list => list.toSorted((a, b) => b.created_at - a.created_at || (a.id < b.id ? -1 : 1))

/** Reposts show the note inside if that is genuine, or the one that they name; a note is shown once. */
function onScreen(events) {
  const seen = events.map(event => {
    if (event.kind !== 6 && event.kind !== 16) return event.id
    const named = event.tags.find(t => t[0] === 'e')
    assert.ok(named?.[2], 'it is named with a relay')
    if (!event.content) return named[1] // protected by its author: fetched from the relay that is named
    const inner = JSON.parse(event.content)
    assert.ok(verifyEvent(inner) && inner.id === named[1], 'the note inside a repost is genuine')
    return inner.id
  })
  return [...new Set(seen)]
}

/** Notes written in the same second may change places from one ranking to the next: the model's numbers have 24 bits. */
const near = (a, b) => Math.abs(a - b) <= 1e-6 * Math.max(1, Math.abs(a))

/** Kendall's tau of what is seen against the page; all of it must be on the page. */
function tau(seen, notes) {
  const places = new Map(notes.map((n, i) => [n.id, [i, n.score]]))
  const row = seen.map(id => places.get(id))
  assert.ok(row.every(place => place), 'what is seen is on the page')
  let sum = 0
  for (let i = 0; i < row.length; i++) for (let j = i + 1; j < row.length; j++) sum += row[i][0] < row[j][0] || near(row[i][1], row[j][1]) ? 1 : -1
  return sum / ((row.length * (row.length - 1)) / 2)
}

/** The best 50 of each six hours, as /time promises, youngest first. */
function bandsOf(events, filter) {
  const taken = {}
  const best = events.filter(e => (taken[Math.floor(e.created_at / 21600)] = (taken[Math.floor(e.created_at / 21600)] ?? 0) + 1) <= 50)
  return newestFirst(best.filter(e => e.created_at >= (filter.since ?? 0) && e.created_at <= (filter.until ?? Infinity)))
}

const home = [1, 6, 16, 20, 21, 22, 1068, 1111, 1222, 1244, 9802, 30023, 31987, 39089]
const amethyst = [1, 6, 16, 11, 1111, 1068, 9802, 30023, 20, 21, 22, 30402, 31337, 1222]
const amethystScreen = [1, 42, 30023, 1068, 6969, 9802, 1111, 30818, 1222, 20, 21, 22]
const sees = { ranking: 'the ranking', page: 'the notes of the page', bands: 'the best of each six hours' }

const clients = [
  ['Jumble, order recognised', '', { kinds: home, limit: 500 }, { kept: true, sees: sees.ranking }],
  ['Jumble, not recognised', '', { kinds: home, limit: 200 }, { sees: sees.page }],
  ['Jumble', '/ranked', { kinds: home, limit: 200 }, { sees: sees.ranking, pages: true }],
  ['noStrudel', '', { kinds: [1, 6, 16, 9802, 1068], limit: 100 }, { sees: sees.page }],
  ['noStrudel', '/ranked', { kinds: [1, 6, 16, 9802, 1068], limit: 100 }, { sees: sees.ranking, pages: true }],
  ['noStrudel', '/time', { kinds: [1, 6, 16, 9802, 1068], limit: 100 }, { sees: sees.bands, pages: true }],
  ['Amethyst, home', '/ranked', { kinds: amethyst, limit: 500 }, { sees: sees.ranking }],
  ['Amethyst, relay screen', '/time', { kinds: amethystScreen, limit: 400 }, { sees: sees.bands }],
  ['Amethyst, relay screen', '/ranked', { kinds: amethystScreen, limit: 400 }, { sees: sees.bands }],
  ['Coracle, our 31890', '/ranked', { kinds: [6, 16], limit: 1000, since: 0, until: now() + 60 }, { sees: sees.ranking }],
  ['Coracle, relay feed', '/time', { kinds: [1, 6, 16, 30023], limit: 1000, since: 0, until: now() + 60 }, { sees: sees.bands }],
  ['Snort', '/ranked', { kinds: [1, 6, 1068], limit: 50, until: now() + 60 }, { sees: sees.ranking, pages: true }],
  ['Snort', '/time', { kinds: [1, 6, 1068], limit: 50, until: now() + 60 }, { sees: sees.bands, pages: true }],
  ['YakiHonne', '/ranked', { kinds: [1, 6], limit: 100, since: now() - 2 * 86_400, until: now() + 60 }, { sees: sees.ranking, pages: true }],
  ['YakiHonne', '/time', { kinds: [1, 6], limit: 100, since: now() - 2 * 86_400, until: now() + 60 }, { sees: sees.bands, pages: true }],
  ['Nostria', '', { kinds: [1], limit: 100 }, { sees: sees.page }],
  ['Nostria', '/time', { kinds: [1], limit: 100 }, { sees: sees.bands }],
  ['Nostria', '/ranked', { kinds: [1], limit: 100 }, { sees: sees.bands }],
]

let settings = 0

/** Runs use with a setting of a knob that nobody has used, so that only one epoch is held of it; again where the epoch ends on the way. */
async function inOneEpoch(use) {
  for (;;) {
    const epoch = () => Math.floor(now() / 900)
    const began = epoch()
    try {
      await use(`hours=${12.5 + ++settings / 100}`)
      return
    } catch (error) {
      if (epoch() === began) throw error
    }
  }
}

for (const [client, shape, asked, does] of clients) {
  test(`${client} at /f/hot${shape} sees ${does.sees}`, () => inOneEpoch(async setting => {
    let filter = asked
    const came = []
    for (let round = 0; round < (does.pages ? 5 : 1); round++) {
      const part = await stored(`/f/hot${shape}?${setting}`, filter)
      if (!part.length) break
      came.push(...part)
      filter = { ...filter, until: Math.min(...part.map(e => e.created_at)) - 1 }
    }
    const seen = onScreen(does.kept ? came : newestFirst(came))
    assert.ok(seen.length >= Math.min(20, asked.limit), `${seen.length} notes`)
    if (does.sees === sees.ranking) {
      const notes = await page('hot', {}, setting) // what /ranked reposts is of every kind
      assert.equal(tau(seen, notes), 1)
      const first = notes.slice(0, 20).filter(n => !shape || asked.kinds.includes(n.kind === 1 ? 6 : 16))
      assert.ok(first.every(n => seen.includes(n.id)), 'the first of the page are there')
    } else if (does.sees === sees.page) {
      assert.deepEqual(seen.toSorted(), ids((await page('hot', asked, setting)).slice(0, asked.limit)).toSorted())
    } else {
      const best = ids(bandsOf(await page('hot', asked, setting), asked))
      assert.deepEqual(seen, best.slice(0, seen.length))
      assert.ok(seen.length === best.length || seen.length >= asked.limit, `${seen.length} of ${best.length}`)
    }
  }))
}

test('Ditto keeps the order of a search, and pages below the oldest', async () => {
  const filter = { search: 'sort:hot protocol:nostr', limit: 20 }
  const notes = await page('hot', {})
  const first = await stored('/', filter)
  assert.deepEqual(ids(first), ids(notes).slice(0, 20))
  const next = await stored('/', { ...filter, until: first.at(-1).created_at - 1 })
  assert.equal(next.length, 20)
  assert.equal(tau(ids(next), notes), 1)
})

const jobs = {
  noStrudel: { tags: key => [['p', key], ['relays', relay.url], ['expiration', String(now() + 86_400)], ['param', 'hours', '24']], kept: true, most: 100, knobs: '&hours=24' },
  Amethyst: { tags: (key, me) => [['p', key], ['alt', 'NIP90 Content Discovery request'], ['relays', relay.url], ['param', 'max_results', '200'], ['param', 'user', me]], kept: true, most: 200 },
  Coracle: { tags: (key, me) => [['expiration', String(now() + 60)], ['p', key], ['param', 'user', me], ['param', 'max_results', '200']], most: 200 },
  Primal: { tags: (key, me) => [['p', key], ['alt', 'Content discovery'], ['param', 'user', me], ['param', 'max_results', '100']], most: 100 },
  Snort: { tags: key => [['p', key]], most: 100 },
  YakiHonne: { tags: key => [['p', key], ['relays', relay.url]], most: 100 },
}

/** Sends a job and waits for its result or an error; a status that it takes a while is none. */
async function result(job, kind) {
  const listener = await Wire.open(relay.url)
  try {
    listener.send('REQ', 'answers', { kinds: [kind, 7000], '#e': [job.id], since: now() - 60 })
    await listener.take(m => m[0] === 'EOSE')
    await listener.publish(job)
    const [, , event] = await listener.take(m => m[0] === 'EVENT' && !m[2].tags.some(t => t[0] === 'status' && t[1] === 'processing'))
    assert.ok(verifyEvent(event))
    return event
  } finally {
    listener.close()
  }
}

for (const [client, does] of Object.entries(jobs)) {
  test(`${client}'s job brings the page`, async () => {
    const me = author()
    const answer = await result(me.sign({ kind: 5300, tags: does.tags(feeds.hot.key, me.pubkey) }), 6300)
    assert.equal(answer.kind, 6300, JSON.stringify(answer.tags))
    assert.equal(answer.pubkey, feeds.hot.key)
    for (const name of ['e', 'p', 'request', 'expiration', 'alt']) assert.ok(answer.tags.some(t => t[0] === name), name)
    const named = JSON.parse(answer.content)
    assert.ok(named.every(t => t[0] === 'e' && t[2] === relay.url))
    const got = named.map(t => t[1])
    const held = await stored('/', { ids: got })
    assert.equal(held.length, got.length, 'each is here to be fetched')
    const want = (await get(`/v1/feeds/hot?limit=${does.most}&scores=true${does.knobs ?? ''}`)).items.map(i => ({ ...i.event, score: i.score }))
    if (does.kept) assert.equal(tau(got, want), 1)
    else assert.deepEqual(ids(newestFirst(held)), ids(newestFirst(want)))
  })
}

test('an encrypted job is read and answered in NIP-44', async () => {
  const me = author()
  const key = nip44.getConversationKey(me.secret, feeds.hot.key)
  const content = nip44.encrypt(JSON.stringify([['param', 'max_results', '7'], ['param', 'hours', '24']]), key)
  const answer = await result(me.sign({ kind: 5300, content, tags: [['p', feeds.hot.key], ['encrypted']] }), 6300)
  assert.ok(answer.tags.some(t => t[0] === 'encrypted'))
  assert.equal(JSON.parse(nip44.decrypt(answer.content, key)).length, 7)
})

test('a job with a mistake is told so', async () => {
  for (const params of [['hours', '1e9'], ['max_results', '0'], ['user', 'nobody']]) {
    const answer = await result(author().sign({ kind: 5300, tags: [['p', feeds.hot.key], ['param', ...params]] }), 6300)
    assert.equal(answer.kind, 7000)
    assert.match(answer.tags.find(t => t[0] === 'status').join(' '), /^status error .*want|no public key/)
  }
})

test('every feed is announced as each client wants it', async () => {
  for (const feed of Object.values(feeds).filter(f => f.status === 'admitted')) {
    const handlers = await stored('/', { kinds: [31990], authors: [feed.key], '#k': ['5300'] })
    assert.equal(handlers.length, 1, feed.ref)
    const [handler] = handlers
    const about = JSON.parse(handler.content)
    for (const name of ['name', 'picture', 'image', 'about', 'lud16', 'amount', 'nip90Params']) assert.ok(name in about, name)
    assert.equal(about.personalized, feed.personalized, 'Primal passes the user only when this is true')
    assert.equal(about.subscription, false, 'Amethyst drops it otherwise')
    assert.ok(!handler.tags.some(t => t[0] === 'web'), 'noStrudel drops it otherwise')
    assert.ok(handler.created_at > now() - 365 * 86_400)
    for (const knob of feed.knobs) assert.ok(about.nip90Params[knob.name], `${feed.ref} ${knob.name}`)
    for (const kind of [0, 10002, 31890]) assert.equal((await stored('/', { kinds: [kind], authors: [feed.key] })).length, 1, `${feed.ref} kind ${kind}`)
  }
  assert.equal(new Set(Object.values(feeds).map(f => f.key)).size, Object.keys(feeds).length, 'each feed has its own key')
})

test("the time of a repost is its rank, and it is found only where it is asked for", () => inOneEpoch(async setting => {
  const door = await Wire.open(`${relay.url}/f/hot/ranked?${setting}`)
  const { events, hint } = await door.ask({ kinds: [6, 16], limit: 1000 })
  assert.deepEqual(hint, ['finish'])
  assert.ok(events.length > 100 && events.length <= 900)
  const notes = await page('hot', {}, setting)
  const order = ids(notes)
  const epoch = Math.floor((events[0].created_at + 1) / 900) * 900
  assert.equal(events[0].created_at, epoch - 1)
  for (const [i, event] of events.entries()) {
    const inner = notes.find(n => n.id === event.tags.find(t => t[0] === 'e')[1])
    assert.equal(event.content === '', inner.tags.some(t => t[0] === '-' && t.length === 1), 'a protected note is named and not carried')
    const rank = epoch - 1 - event.created_at
    assert.ok(rank === order.indexOf(inner.id) || near(notes[rank].score, inner.score), `rank of the repost ${i}`)
    assert.equal(event.pubkey, feeds.hot.key)
    assert.ok(verifyEvent(event))
    assert.ok(event.tags.some(t => t.length === 1 && t[0] === '-'), 'NIP-70')
    assert.ok(Number(event.tags.find(t => t[0] === 'expiration')?.[1]) > now(), 'NIP-40')
    assert.equal(event.kind, inner.kind === 1 ? 6 : 16)
  }
  const again = await door.ask({ kinds: [6, 16], limit: 1000 })
  assert.deepEqual(again.events.map(e => e.sig), events.map(e => e.sig), 'signed once an epoch')
  const noted = events[0].tags.find(t => t[0] === 'e')[1]
  for (const filter of [{ kinds: [6, 16], '#e': [noted] }, { ids: [events[0].id] }]) {
    for (const wire of [door, root]) assert.ok(!(await wire.ask(filter)).events.some(e => e.pubkey === feeds.hot.key), JSON.stringify(filter))
  }
  root.send('COUNT', 'count', { kinds: [6, 16], authors: [feeds.hot.key] })
  assert.equal((await root.take(m => m[0] === 'COUNT' && m[1] === 'count'))[2].count, 0)
  door.close()
}))

test('a page that depends on who reads wants a signature for /ranked', async () => {
  for (const feed of Object.values(feeds).filter(f => f.personalized && f.status === 'admitted')) {
    const door = await Wire.open(`${relay.url}/f/${feed.ref}/ranked`)
    assert.match((await door.ask({ kinds: [6, 16], limit: 10 })).closed ?? '', /^auth-required: /, feed.ref)
    const me = author()
    const [, challenge] = await door.take(m => m[0] === 'AUTH')
    const proof = me.sign({ kind: 22242, tags: [['relay', `${relay.url}/f/${feed.ref}/ranked`], ['challenge', challenge]] })
    door.send('AUTH', proof)
    assert.equal((await door.take(m => m[0] === 'OK' && m[1] === proof.id))[2], true)
    assert.equal((await door.ask({ kinds: [6, 16], limit: 10 })).closed, undefined, feed.ref)
    door.close()
  }
})

test('the hints never ask a client to skip', async () => {
  for (const path of ['/f/hot', '/f/latest', '/f/wot-hot']) {
    const door = await Wire.open(relay.url + path)
    for (const filter of [{ kinds: [1], limit: 10 }, { kinds: [1], limit: 5000 }, { limit: 1 }, {}]) {
      const { hint = [], closed } = await door.ask(filter)
      assert.equal(closed, undefined)
      assert.ok(!hint.includes('more'), `${path} ${JSON.stringify(filter)} ${hint}`)
    }
    const beside = await door.ask({ kinds: [1], limit: 5 }, { kinds: [0], limit: 5 })
    assert.equal(beside.events.length, 10)
    assert.ok(!beside.hint?.includes('more'), 'a page beside profiles of which there are more')
    const little = await door.ask({ kinds: [30023], limit: 500 })
    assert.deepEqual(little.hint, ['finish'], 'all of it was sent')
    door.close()
  }
})

test('ids, tags, profiles and words at a feed are answered as on the root, and a page has no live end', async () => {
  const me = author()
  const note = await root.publish(me.sign({ content: 'quokka on the door' }))
  await root.publish(me.sign({ kind: 0, content: '{"name":"Door"}' }))
  const door = await Wire.open(`${relay.url}/f/hot`)
  for (const filter of [{ ids: [note.id] }, { kinds: [0], authors: [me.pubkey] }, { kinds: [1], '#p': [note.pubkey] }, { kinds: [7], limit: 5 }, { kinds: [10002, 3], limit: 5 }]) {
    assert.deepEqual(ids((await door.ask(filter)).events), ids((await root.ask(filter)).events), JSON.stringify(filter))
  }
  const subscribed = await door.ask({ kinds: [1], limit: 5 })
  const live = await door.ask({ '#t': ['door'] })
  const later = await root.publish(me.sign({ content: 'later', tags: [['t', 'door']] }))
  await door.take(m => m[0] === 'EVENT' && m[1] === live.id && m[2].id === later.id)
  assert.deepEqual(door.left(subscribed.id), [], 'nothing follows a page')
  door.close()
})

test('limit, kinds, authors, since and until are honoured', async () => {
  const door = await Wire.open(`${relay.url}/f/latest`)
  const all = (await door.ask({ limit: 500 })).events
  const middle = all[250]
  assert.equal((await door.ask({ limit: 3 })).events.length, 3)
  for (const e of (await door.ask({ kinds: [30023, 6], limit: 50 })).events) assert.ok([30023, 6].includes(e.kind))
  const by = (await door.ask({ authors: [middle.pubkey], limit: 50 })).events
  assert.ok(by.length && by.every(e => e.pubkey === middle.pubkey))
  const since = (await door.ask({ since: middle.created_at, limit: 500 })).events
  assert.ok(since.length && since.every(e => e.created_at >= middle.created_at))
  const until = (await door.ask({ until: middle.created_at, limit: 500 })).events
  assert.ok(until.some(e => e.id === middle.id) && until.every(e => e.created_at <= middle.created_at))
  door.close()
})

test('mistakes at a socket are CLOSED with invalid:', async () => {
  const bad = [
    ['/f/hot', { kinds: [1], limit: 0 }], ['/f/hot', { kinds: [1], limit: 1e9 }], ['/f/hot?hours=9999', { kinds: [1] }], ['/f/hot?nonsense=1', { kinds: [1] }],
    ['/f/hot?hours=1&hours=2', { kinds: [1] }], ['/f/hot?%zz', { kinds: [1] }], ['/f/hot?pov=nobody', { kinds: [1] }], [`/f/wot-hot?pov=${author().pubkey}`, { kinds: [1] }],
    ['/', { search: 'feed:nonsense' }], ['/', { search: 'sort:hot hours:0' }], ['/', { search: 'sort:hot pov:npub1x' }], ['/', { search: 'sort:hot', limit: 1e9 }],
  ]
  for (const [path, filter] of bad) {
    const door = await Wire.open(relay.url + path)
    assert.match((await door.ask(filter)).closed ?? '', /^invalid: ./, `${path} ${JSON.stringify(filter)}`)
    door.close()
  }
  for (const path of ['/f/nonsense', '/f/hot/nonsense', '/f/', '/f']) await assert.rejects(Wire.open(relay.url + path), /404/, path)
})

test('the keys of a search do what the doors do', async () => {
  const order = ids(await page('hot', {}))
  const asked = async (search, limit = 20) => (await root.ask({ search, limit })).events
  for (const text of ['feed:hot', 'sort:hot', `feed:${feeds.hot.naddr}`, 'sort:hot unknown:key']) assert.deepEqual(ids(await asked(text)), order.slice(0, 20), text)
  for (const [alias, feed] of [['top', 'top-24h'], ['rising', 'rising'], ['controversial', 'controversial'], ['latest', 'latest']]) {
    assert.deepEqual(ids(await asked(`sort:${alias}`)), ids((await page(feed, {})).slice(0, 20)), alias)
  }
  const heads = (await asked('sort:latest distinct:author', 100)).map(e => e.pubkey)
  assert.equal(new Set(heads).size, heads.length)
  assert.deepEqual(ids(await asked('sort:hot hours:24')), (await get('/v1/feeds/hot?limit=20&hours=24')).items.map(i => i.event.id))
  const [known] = (await stored('/', { kinds: [3], limit: 1 })).map(e => e.pubkey)
  assert.deepEqual(ids(await asked(`sort:wot-hot pov:${known}`)), (await get(`/v1/feeds/wot-hot?limit=20&viewer=${known}`)).items.map(i => i.event.id))
})

test('an author who opts out is on no page, and comes back', async () => {
  const me = author()
  const note = await root.publish(me.sign({ content: 'ranked or not' }))
  const carried = async () => (await get(`/v1/why/${note.id}`)).feeds.length > 0
  const wait = async want => {
    for (const late = Date.now() + 60_000; (await carried()) !== want; await new Promise(r => setTimeout(r, 300))) assert.ok(Date.now() < late, `carried: ${!want}`)
  }
  await wait(true)
  const out = await root.publish(me.sign({ kind: 30078, tags: [['d', 'agora-feeds-optout']] }))
  await wait(false)
  for (const path of ['/f/latest', '/f/latest/time', '/f/latest/ranked', '/']) {
    const door = await Wire.open(relay.url + path)
    const { events } = await door.ask(path === '/' ? { search: 'sort:latest', limit: 50 } : { kinds: [1, 6], limit: 50 })
    assert.ok(events.length > 0 && !onScreen(events).includes(note.id), path)
    door.close()
  }
  assert.ok(!JSON.stringify(await get('/xrpc/app.bsky.feed.getFeedSkeleton?feed=latest')).includes(note.id))
  await root.publish(me.sign({ kind: 5, tags: [['e', out.id], ['k', '30078']] }))
  await wait(true)
})

test('ten pages of one snapshot repeat none and skip none while notes pour in', async () => {
  const writer = author()
  const whole = ids(await page('latest', {})).slice(0, 200)
  const seen = []
  let cursor = ''
  for (let turn = 0; turn < 10; turn++) {
    const part = await get(`/v1/feeds/latest?limit=20${cursor && `&cursor=${encodeURIComponent(cursor)}`}`)
    seen.push(...part.items.map(i => i.event.id))
    cursor = part.cursor
    for (let i = 0; i < 5; i++) await root.publish(writer.sign({ content: `pouring ${turn} ${i}` }))
  }
  assert.deepEqual(seen, whole)
  assert.match((await get(`/v1/feeds/hot?cursor=${encodeURIComponent(cursor)}`, 400)).error, /cursor/, 'a cursor of another feed')
  assert.match((await get(`/v1/feeds/latest?cursor=${encodeURIComponent(`${cursor}x`)}`, 400)).error, /cursor/)
})

test('a stream tells of a new order', async () => {
  const stop = new AbortController()
  const resp = await fetch(`${relay.url.replace('ws', 'http')}/v1/feeds/latest/stream?limit=3`, { signal: AbortSignal.any([stop.signal, AbortSignal.timeout(60_000)]) })
  assert.equal(resp.headers.get('content-type'), 'text/event-stream')
  const note = author().sign({ content: 'stream me', created_at: now() + 30 }) // the newest for sure
  let text = ''
  let sent = false
  for await (const chunk of resp.body.pipeThrough(new TextDecoderStream())) {
    text += chunk
    const pages = text.split('\n\n').filter(part => part.startsWith('event: page')).slice(0, text.endsWith('\n\n') ? undefined : -1)
    if (pages.length && !sent) {
      sent = true
      await root.publish(note)
    }
    const last = pages.at(-1)?.match(/^data: (.*)$/m)?.[1]
    if (sent && last && JSON.parse(last).items[0].event.id === note.id) break
  }
  stop.abort()
  assert.ok(sent)
})

test('readers of RSS, Atom, JSON Feed and Bluesky get the page and addresses that open', async () => {
  const order = (await get('/v1/feeds/hot?limit=10')).items.map(i => i.event.id)
  const web = relay.url.replace('ws', 'http')
  for (const [kind, link] of [['rss', /<link>([^<]*\?note=[0-9a-f]{64})<\/link>/g], ['atom', /rel="alternate" href="([^"]*\?note=[0-9a-f]{64})"/g]]) {
    const resp = await fetch(`${web}/v1/feeds/hot/${kind}?limit=10`)
    const links = [...(await resp.text()).matchAll(link)].map(m => m[1])
    assert.deepEqual(links, order.map(id => `${web}/?note=${id}`), kind)
    assert.equal((await fetch(links[0])).status, 200)
  }
  const json = await get('/v1/feeds/hot/json?limit=10')
  assert.deepEqual(json.items.map(i => i.url), order.map(id => `${web}/?note=${id}`))
  const { feeds: generators } = await get('/xrpc/app.bsky.feed.describeFeedGenerator')
  const { uri } = generators.find(f => f.uri.endsWith('/hot'))
  let cursor = ''
  const posts = []
  do {
    const part = await get(`/xrpc/app.bsky.feed.getFeedSkeleton?feed=${encodeURIComponent(uri)}&limit=5${cursor && `&cursor=${encodeURIComponent(cursor)}`}`)
    posts.push(...part.feed.map(i => i.post.split('/').at(-1)))
    cursor = part.cursor
  } while (posts.length < 10)
  assert.deepEqual(posts, order)
  for (const query of [`feed=${uri}&limit=0`, `feed=${uri}&limit=101`, `feed=${uri}&cursor=bad`, '']) assert.equal((await get(`/xrpc/app.bsky.feed.getFeedSkeleton?${query}`, 400)).error, 'InvalidRequest', query)
  assert.equal((await get('/xrpc/app.bsky.feed.getFeedSkeleton?feed=at://did:web:x/app.bsky.feed.generator/gone', 400)).error, 'UnknownFeed')
})

test('the document of each door is its own; another name is an opt-in that says so', async () => {
  const headers = { Accept: 'application/nostr+json' }
  const plain = await get('/', 200, { headers })
  for (const [path, name] of [['/f/hot', 'Hot'], ['/f/hot/time', 'Hot by time'], ['/f/hot/ranked', 'Hot ranked']]) {
    const own = await get(path, 200, { headers })
    assert.equal(own.name, name)
    assert.equal(own.self, feeds.hot.key)
    assert.equal(own.software, plain.software)
    for (const nip of [11, 42, 50, 67]) assert.ok(own.supported_nips.includes(nip))
  }
  const other = await startRelay({ settings: ['--feeds-compat-software'] })
  try {
    const read = async path => (await fetch(other.url.replace('ws', 'http') + path, { headers })).json()
    const pretends = await read('/f/hot')
    assert.equal(pretends.software, 'https://github.com/bitvora/algo-relay')
    assert.match(pretends.description, /names another project/)
    assert.notEqual((await read('/')).software, pretends.software)
  } finally {
    await other.stop()
  }
})
