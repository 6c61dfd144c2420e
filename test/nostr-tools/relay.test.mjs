// What clients built on nostr-tools do all day, against the real program.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as nip11 from 'nostr-tools/nip11'
import * as nip17 from 'nostr-tools/nip17'
import { nip77 } from 'nostr-tools'
import { finalizeEvent, generateSecretKey, getPublicKey, verifyEvent } from 'nostr-tools/pure'
import { SimplePool, useWebSocketImplementation as usePoolSocket } from 'nostr-tools/pool'
import { Relay, useWebSocketImplementation as useRelaySocket } from 'nostr-tools/relay'
import WebSocket from 'ws'
import { startRelay } from './relay.mjs'

usePoolSocket(WebSocket)
useRelaySocket(WebSocket)

const now = () => Math.floor(Date.now() / 1000)
let server

before(async () => {
  server = await startRelay()
})

after(async () => {
  assert.equal(await server.stop(), 0, 'SIGTERM ends with exit code 0')
})

/** A key of its own for each test, so that they do not meet. */
function newAuthor() {
  const secret = generateSecretKey()
  return {
    secret,
    pubkey: getPublicKey(secret),
    sign: template => finalizeEvent({ created_at: now(), tags: [], content: '', ...template }, secret),
  }
}

/** Runs use with a connection and closes it. */
async function connected(use) {
  const relay = await Relay.connect(server.url)
  try {
    return await use(relay)
  } finally {
    relay.close()
  }
}

/** All stored events of the filters, in the order they came; rejects when CLOSED. */
function stored(relay, filters) {
  return new Promise((resolve, reject) => {
    const rows = []
    const sub = relay.subscribe(filters, {
      onevent: event => rows.push(event),
      oninvalidevent: event => reject(new Error(`not asked for or not valid: ${JSON.stringify(event)}`)),
      oneose: () => {
        resolve(rows)
        sub.close()
      },
      onclose: reason => reject(new Error(reason)),
      eoseTimeout: 20_000,
    })
  })
}

const ids = events => events.map(event => event.id)

test('NIP-01: what is published comes back, newest first, and verifies', () =>
  connected(async relay => {
    const me = newAuthor()
    const start = now() // once: a second may end between two notes
    const notes = [1, 2, 3].map(n => me.sign({ kind: 1, created_at: start - n, content: `note ${n} 🤙 "quoted" \\ \n` }))
    for (const note of notes) await relay.publish(note)
    const rows = await stored(relay, [{ authors: [me.pubkey], kinds: [1] }])
    assert.deepEqual(ids(rows), ids(notes))
    assert.deepEqual(rows[0].content, notes[0].content)
    for (const row of rows) assert.ok(verifyEvent(JSON.parse(JSON.stringify(row))))
    assert.deepEqual(ids(await stored(relay, [{ authors: [me.pubkey], limit: 1 }])), [notes[0].id])
    assert.deepEqual(ids(await stored(relay, [{ authors: [me.pubkey], until: notes[1].created_at }])), ids(notes.slice(1)))
    assert.deepEqual(ids(await stored(relay, [{ ids: [notes[2].id] }, { authors: [me.pubkey] }])), ids(notes), 'overlapping filters repeat nothing')
  }))

test('NIP-01: a duplicate is no error, a forged event is', () =>
  connected(async relay => {
    const me = newAuthor()
    const note = me.sign({ kind: 1, content: 'once' })
    await relay.publish(note)
    assert.match(await relay.publish(note), /^duplicate: /)
    const forged = { ...note, content: 'twice' }
    await assert.rejects(relay.publish(forged), /invalid: /)
    const unsigned = { ...me.sign({ kind: 1, content: 'x' }), sig: '0'.repeat(128) }
    await assert.rejects(relay.publish(unsigned), /invalid: /)
  }))

test('NIP-01: live events arrive once, after EOSE, on every listener', async () => {
  const me = newAuthor()
  await connected(async speaker => {
    const before = me.sign({ kind: 1, created_at: now() - 10, content: 'before' })
    await speaker.publish(before)
    await connected(async listener => {
      const live = me.sign({ kind: 1, content: 'after' })
      const seen = []
      await new Promise((resolve, reject) => {
        listener.subscribe([{ authors: [me.pubkey] }], {
          onevent: event => {
            seen.push(event.id)
            if (event.id === live.id) resolve()
          },
          oneose: () => {
            assert.deepEqual(seen, [before.id])
            speaker.publish(live).catch(reject)
          },
          onclose: reason => reject(new Error(reason)),
        })
      })
      assert.deepEqual(seen, [before.id, live.id])
    })
  })
})

test('NIP-01: ephemeral events are delivered and not kept', async () => {
  const me = newAuthor()
  await connected(async listener => {
    const event = me.sign({ kind: 20001, content: 'now or never' })
    await new Promise((resolve, reject) => {
      listener.subscribe([{ kinds: [20001], authors: [me.pubkey] }], {
        onevent: got => (got.id === event.id ? resolve() : reject(new Error(got.id))),
        oneose: () => connected(speaker => speaker.publish(event)).catch(reject),
      })
    })
    assert.deepEqual(await stored(listener, [{ ids: [event.id] }]), [])
  })
})

test('NIP-01: of replaceable and addressable events the newest is kept', () =>
  connected(async relay => {
    const me = newAuthor()
    const old = me.sign({ kind: 0, created_at: now() - 100, content: '{"name":"old"}' })
    const current = me.sign({ kind: 0, created_at: now() - 50, content: '{"name":"new"}' })
    await relay.publish(current)
    await relay.publish(old).catch(() => {}) // refused or accepted, never kept
    assert.deepEqual(ids(await stored(relay, [{ kinds: [0], authors: [me.pubkey] }])), [current.id])
    const a = me.sign({ kind: 30023, created_at: now() - 9, tags: [['d', 'one']], content: 'v1' })
    const b = me.sign({ kind: 30023, created_at: now() - 8, tags: [['d', 'one']], content: 'v2' })
    const c = me.sign({ kind: 30023, created_at: now() - 7, tags: [['d', 'two']], content: 'v1' })
    for (const event of [a, b, c]) await relay.publish(event)
    assert.deepEqual(ids(await stored(relay, [{ kinds: [30023], authors: [me.pubkey] }])), [c.id, b.id])
    assert.deepEqual(ids(await stored(relay, [{ kinds: [30023], authors: [me.pubkey], '#d': ['one'] }])), [b.id])
  }))

test('NIP-09: an author deletes by id and by address, nobody else does', () =>
  connected(async relay => {
    const [me, other] = [newAuthor(), newAuthor()]
    const note = me.sign({ kind: 1, created_at: now() - 5, content: 'a mistake' })
    const article = me.sign({ kind: 30023, created_at: now() - 5, tags: [['d', 'x']], content: 'another' })
    await relay.publish(note)
    await relay.publish(article)
    await relay.publish(other.sign({ kind: 5, tags: [['e', note.id]] })).catch(() => {})
    assert.equal((await stored(relay, [{ ids: [note.id] }])).length, 1, 'a stranger deletes nothing')
    await relay.publish(me.sign({ kind: 5, tags: [['e', note.id], ['a', `30023:${me.pubkey}:x`]] }))
    assert.deepEqual(await stored(relay, [{ ids: [note.id, article.id] }]), [])
    await assert.rejects(relay.publish(note), /deleted|blocked/i, 'and it stays away')
  }))

test('NIP-11: the document says what the relay does', async () => {
  nip11.useFetchImplementation(fetch)
  const info = await nip11.fetchRelayInformation(server.url)
  for (const nip of [1, 9, 11, 40, 42, 45, 50, 70, 77]) assert.ok(info.supported_nips.includes(nip), `NIP-${nip}`)
  assert.ok(info.name && info.version && info.limitation.max_limit > 0)
})

test('NIP-40: an expired event is refused, one that expires later is served', () =>
  connected(async relay => {
    const me = newAuthor()
    await assert.rejects(relay.publish(me.sign({ kind: 1, tags: [['expiration', String(now() - 60)]], content: 'late' })))
    const lasting = me.sign({ kind: 1, tags: [['expiration', String(now() + 3600)]], content: 'in time' })
    await relay.publish(lasting)
    assert.deepEqual(ids(await stored(relay, [{ authors: [me.pubkey] }])), [lasting.id])
  }))

test('NIP-17, 42, 59: a wrapped message goes to its recipient, authenticated, and to nobody else', async () => {
  const [alice, bob, eve] = [newAuthor(), newAuthor(), newAuthor()]
  const wrap = nip17.wrapEvent(alice.secret, { publicKey: bob.pubkey }, 'for your eyes only')
  await connected(relay => relay.publish(wrap))
  const inbox = [{ kinds: [1059], '#p': [bob.pubkey] }]
  await connected(async relay => {
    await assert.rejects(stored(relay, inbox), /auth-required: /)
    await relay.auth(async template => finalizeEvent(template, eve.secret))
    const got = await stored(relay, inbox).catch(err => {
      assert.match(err.message, /restricted: |auth-required: /)
      return []
    })
    assert.deepEqual(got, [], 'eve sees nothing')
    assert.deepEqual(await stored(relay, [{ ids: [wrap.id] }]).catch(() => []), [], 'nor by id')
  })
  await connected(async relay => {
    await assert.rejects(stored(relay, inbox), /auth-required: /)
    await relay.auth(async template => finalizeEvent(template, bob.secret))
    const got = await stored(relay, inbox)
    assert.deepEqual(ids(got), [wrap.id])
    assert.equal(nip17.unwrapEvent(got[0], bob.secret).content, 'for your eyes only')
  })
})

test('NIP-42: the pool authenticates by itself when it is asked to', async () => {
  const [alice, bob] = [newAuthor(), newAuthor()]
  const wrap = nip17.wrapEvent(alice.secret, { publicKey: bob.pubkey }, 'hello')
  const pool = new SimplePool()
  try {
    await Promise.all(pool.publish([server.url], wrap))
    const got = await new Promise((resolve, reject) => {
      const rows = []
      pool.subscribe([server.url], { kinds: [1059], '#p': [bob.pubkey] }, {
        onauth: async template => finalizeEvent(template, bob.secret),
        onevent: event => rows.push(event),
        oneose: () => rows.length && resolve(rows),
        onclose: reasons => reject(new Error(JSON.stringify(reasons))),
      })
    })
    assert.deepEqual(ids(got), [wrap.id])
  } finally {
    pool.destroy()
  }
})

test('NIP-45: COUNT counts, and its HyperLogLog counts people', () =>
  connected(async relay => {
    const me = newAuthor()
    const note = me.sign({ kind: 1, content: 'count me' })
    await relay.publish(note)
    const fans = Array.from({ length: 12 }, newAuthor)
    for (const fan of fans) await relay.publish(fan.sign({ kind: 7, content: '+', tags: [['e', note.id], ['p', me.pubkey]] }))
    await relay.publish(fans[0].sign({ kind: 7, content: '🤙', tags: [['e', note.id], ['p', me.pubkey]] }))
    const answer = await relay.countWithHLL([{ kinds: [7], '#e': [note.id] }], {})
    assert.equal(answer.count, 13)
    assert.match(answer.hll, /^[0-9a-f]{512}$/)
    const filled = answer.hll.match(/../g).filter(register => register !== '00').length
    assert.ok(filled > 8 && filled <= 12, `${filled} registers for 12 people`)
  }))

test('NIP-50: search finds words in any script, the closest first', () =>
  connected(async relay => {
    const me = newAuthor()
    const both = me.sign({ kind: 1, created_at: now() - 30, content: 'zebrafish swim: the zebrafish of lake Tanganyika' })
    const one = me.sign({ kind: 1, created_at: now() - 20, content: 'a long story about many other things in which one zebrafish is named only once, in passing' })
    const script = me.sign({ kind: 1, content: '東京の天気は晴れです' })
    for (const event of [both, one, script]) await relay.publish(event)
    const find = async (search, want) => {
      for (let tries = 0; tries < 40; tries++) { // the index may lag by two seconds
        const rows = await stored(relay, [{ search, authors: [me.pubkey], kinds: [1] }])
        if (rows.length === want.length) return assert.deepEqual(ids(rows), ids(want))
        await new Promise(resolve => setTimeout(resolve, 100))
      }
      assert.fail(`${search} does not find ${want.length} notes`)
    }
    await find('zebrafish', [both, one])
    await find('ZEBRAFISH tanganyika unknown:extension', [both])
    await find('天気', [script])
  }))

test('NIP-65: a relay list is kept and replaced', () =>
  connected(async relay => {
    const me = newAuthor()
    await relay.publish(me.sign({ kind: 10002, created_at: now() - 9, tags: [['r', 'wss://old.example/']] }))
    const list = me.sign({ kind: 10002, tags: [['r', 'wss://new.example/', 'write']] })
    await relay.publish(list)
    assert.deepEqual(ids(await stored(relay, [{ kinds: [10002], authors: [me.pubkey] }])), [list.id])
  }))

test('NIP-70: a protected event is taken from its author only', async () => {
  const [me, other] = [newAuthor(), newAuthor()]
  const event = me.sign({ kind: 1, tags: [['-']], content: 'mine' })
  await connected(async relay => {
    await assert.rejects(relay.publish(event), /auth-required: |restricted: |blocked: /)
    await relay.auth(async template => finalizeEvent(template, other.secret))
    await assert.rejects(relay.publish(event), /auth-required: |restricted: |blocked: /)
  })
  await connected(async relay => {
    await assert.rejects(relay.publish(event), /auth-required: /)
    await relay.auth(async template => finalizeEvent(template, me.secret))
    await relay.publish(event)
    assert.deepEqual(ids(await stored(relay, [{ ids: [event.id] }])), [event.id])
  })
})

test('NIP-77: negentropy finds what each side lacks', () =>
  connected(async relay => {
    const me = newAuthor()
    const events = Array.from({ length: 150 }, (_, n) => me.sign({ kind: 1, created_at: now() - 1000 + n, content: `entry ${n}` }))
    const [theirs, ours] = [events.slice(0, 120), events.slice(40)]
    await Promise.all(theirs.map(event => relay.publish(event)))
    const storage = new nip77.NegentropyStorageVector()
    for (const event of ours) storage.insert(event.created_at, event.id)
    storage.seal()
    const [have, need] = [[], []]
    await new Promise((resolve, reject) => {
      const sync = new nip77.NegentropySync(relay, storage, { authors: [me.pubkey], kinds: [1] }, {
        onhave: id => have.push(id),
        onneed: id => need.push(id),
        onclose: reason => (reason ? reject(new Error(reason)) : resolve()),
      })
      sync.start()
    })
    assert.deepEqual(have.sort(), ids(events.slice(120)).sort(), 'what the relay lacks')
    assert.deepEqual(need.sort(), ids(events.slice(0, 40)).sort(), 'what the client lacks')
  }))

test('SimplePool: publish, querySync, get and subscribe as clients use them', async () => {
  const me = newAuthor()
  const pool = new SimplePool()
  try {
    const profile = me.sign({ kind: 0, content: '{"name":"pool"}' })
    const note = me.sign({ kind: 1, content: 'through a pool' })
    await Promise.all([...pool.publish([server.url], profile), ...pool.publish([server.url], note)])
    assert.deepEqual(ids(await pool.querySync([server.url], { authors: [me.pubkey], kinds: [0, 1] })).sort(), ids([profile, note]).sort())
    assert.equal((await pool.get([server.url], { kinds: [0], authors: [me.pubkey] })).id, profile.id)
    const next = me.sign({ kind: 1, created_at: now() + 1, content: 'live through a pool' })
    let taken = []
    const got = await new Promise(resolve => {
      const sub = pool.subscribe([server.url], { authors: [me.pubkey], kinds: [1], since: next.created_at }, {
        onevent: event => {
          sub.close()
          resolve(event)
        },
        oneose: () => (taken = pool.publish([server.url], next)),
      })
    })
    assert.equal(got.id, next.id)
    await Promise.all(taken) // the event may come before its OK
  } finally {
    pool.destroy()
  }
})
