// What strangers write is shown and never run.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import * as nip19 from 'nostr-tools/nip19'
import { runnerImport } from 'vite'

const load = async name => (await runnerImport(fileURLToPath(new URL(`../src/lib/${name}.ts`, import.meta.url)), { logLevel: 'silent', configFile: false })).module
const { takeApart, safeURL, clean, cleanName, tidy, readKey, plainText } = await load('text')
const { readNote } = await load('json')
const { joins, agreement } = await load('compare')
const { show, quotesOf } = await load('shown')
const { reasonInWords } = await load('reasons')
const { groupsOf, strangersOf, told } = await load('groups')
const { failure, sentence, ago, isoDate, fullDate, valueInWords } = await load('words')

const key = 'ab'.repeat(32)
const links = text => takeApart(text).filter(p => p.is === 'link').map(p => p.url)
const note = more => ({ id: key, pubkey: key, kind: 1, created_at: 1, content: '', tags: [], ...more })

test('only http and https are ever linked to', () => {
  for (const url of ['javascript:alert(1)', 'JaVaScRiPt:alert(1)', ' javascript:alert(1)', 'data:text/html,<script>', 'vbscript:x', 'file:///etc/passwd', 'blob:https://x/y', 'https://', 'http:', '//evil', 'https://name:secret@host/', `https://x/${'a'.repeat(3000)}`]) {
    assert.equal(safeURL(url), null, url)
    assert.deepEqual(takeApart(url).filter(p => p.is === 'link' && !/^https?:\/\//.test(p.url)), [], url)
  }
  assert.equal(safeURL('https://relay.example/a?b#c')?.href, 'https://relay.example/a?b#c')
})

test('a sentence keeps its punctuation and an address its brackets', () => {
  assert.deepEqual(links('see https://a.example/x, or (https://b.example/y).'), ['https://a.example/x', 'https://b.example/y'])
  assert.deepEqual(links('https://en.example/wiki/Agora_(disambiguation)'), ['https://en.example/wiki/Agora_(disambiguation)'])
  assert.deepEqual(links('"https://a.example/"><img src=x onerror=alert(1)>'), ['https://a.example/'])
})

test('a host that looks like another is shown as it is', () => {
  const [piece] = takeApart('https://аpple.example/')
  assert.equal(piece.host, 'xn--pple-43d.example')
  assert.ok(piece.label.startsWith('xn--'))
})

test('people and notes are found in every form, and a broken code stays text', () => {
  const npub = nip19.npubEncode(key)
  const nevent = nip19.neventEncode({ id: key, relays: ['wss://x.example'] })
  const pieces = takeApart(`hi nostr:${npub} and ${nevent} and #[0] #[1] #[9]`, [['p', key], ['e', key]])
  assert.deepEqual(pieces.map(p => p.is), ['text', 'person', 'text', 'note', 'text', 'person', 'text', 'note', 'text'])
  assert.deepEqual(takeApart(`${npub.slice(0, -1)}x`).map(p => p.is), ['text'])
  assert.equal(readKey(` ${npub} `), key)
  assert.equal(readKey('nostr:' + nip19.nprofileEncode({ pubkey: key })), key)
  for (const none of ['', 'npub1', 'x'.repeat(64), nip19.noteEncode(key)]) assert.equal(readKey(none), '')
})

test('names cannot turn the text around them, hide, or pile up', () => {
  assert.equal(clean('a\u202Egnp.exe\u2066\u200b\u0000b', 50), 'agnp.exeb')
  assert.equal(clean('  a\n\n b\t c ', 50), 'a b c')
  assert.equal([...clean('x'.repeat(500), 50)].length, 50)
  assert.equal(tidy(`z${'\u0301'.repeat(500)}`).length, 4)
  assert.equal(clean('👩‍👩‍👧 नमस्ते ไทย', 50), '👩‍👩‍👧 नमस्ते ไทย')
})

test('whatever the text, its pieces are bounded, linked only by http, and lose nothing that is text', () => {
  let seed = 7
  const random = n => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % n
  const parts = ['<script>', 'https://', 'javascript:', 'nostr:', nip19.npubEncode(key), '#[0]', '#tag', '(', ')', '\u202e', ' ', '\n', 'é', '"', "'", '.', 'http://h.example/p', '\ud800', '%00', '&lt;']
  for (let i = 0; i < 3000; i++) {
    const text = Array.from({ length: random(14) }, () => parts[random(parts.length)]).join('')
    const pieces = takeApart(text, [['p', key]])
    for (const p of pieces) {
      if (p.is === 'link') assert.match(p.url, /^https?:\/\/[^/]/, text)
    }
    const kept = pieces.filter(p => p.is === 'text').map(p => p.text).join('')
    if (pieces.every(p => p.is === 'text')) assert.equal(kept, tidy(text))
  }
  assert.ok(takeApart('#a '.repeat(5000)).length < 1000)
})

test('a huge or hostile text is read in bounded time', () => {
  const began = performance.now()
  for (const text of ['https://'.repeat(100_000), '('.repeat(500_000), 'npub1'.repeat(100_000), '\u0301'.repeat(500_000), '#'.repeat(500_000), `https://x/${')'.repeat(500_000)}`]) takeApart(text)
  assert.ok(performance.now() - began < 2000)
})

test('an event that is none is not shown', () => {
  for (const v of [null, 1, 'x', [], {}, note({ id: 'x' }), note({ pubkey: key.toUpperCase() }), note({ kind: '1' }), note({ content: null })]) assert.equal(readNote(v), null)
  assert.deepEqual(readNote(note({ tags: [['e', 1], 'x', [], [null, 'a']] }))?.tags, [['e'], ['a']])
})

test('a repost shows the note inside, and one that holds none shows its text', () => {
  const inside = note({ content: 'inner', pubkey: 'cd'.repeat(32) })
  const shown = show(note({ kind: 6, content: JSON.stringify(inside) }))
  assert.equal(shown.text, 'inner')
  assert.equal(shown.by, key)
  assert.equal(show(note({ kind: 6, content: '{"a":' })).by, '')
  assert.equal(show(note({ tags: [['content-warning', 'x\u202e']] })).warning, 'x')
  assert.deepEqual(quotesOf(note({ content: nip19.noteEncode(key) })), [], 'a note does not quote itself')
})

test('on one line keys have names and pictures are words', () => {
  assert.equal(plainText(`a\n${nip19.npubEncode(key)} https://h.example/x.png #t`, [], () => 'Ann', 200), 'a @Ann [picture at h.example] #t')
})

test('two rankings are joined by note and compared by order', () => {
  const items = ids => ids.map((id, i) => ({ rank: i + 1, note: { id } }))
  const both = joins(items(['a', 'b', 'c']), items(['c', 'x', 'b']))
  assert.deepEqual(both, [{ id: 'b', left: 1, right: 2 }, { id: 'c', left: 2, right: 0 }])
  assert.equal(agreement(both), -1)
  assert.equal(agreement(joins(items(['a', 'b', 'c']), items(['a', 'b', 'c']))), 1)
  assert.ok(Number.isNaN(agreement([])))
})

test('what a model saw is said with its unit', () => {
  const said = { 'note.age_hours': [2304, '96 days'], 'viewer.history_hours': [0.5, '30 minutes'], 'author.has_nip05': [0, 'no'], 'author.reply_share': [0.25, '25 %'], 'spam.probability': [0.5, '50 %'], 'zap.msat': [21000, '21 sats'], 'count.likes': [3, '3'], 'author.age_hours': [876600, '100 years'] }
  for (const [feature, [value, words]] of Object.entries(said)) assert.equal(valueInWords(feature, value), words)
  for (const v of [NaN, Infinity, -5, 1e300]) assert.equal(typeof valueInWords('note.age_hours', v), 'string')
})

test('any number may stand where a time should', () => {
  for (const at of [0, -1, 1e18, NaN, Infinity, 1.6e12]) {
    assert.equal(typeof ago(at, 1.7e9), 'string')
    assert.equal(typeof isoDate(at), 'string')
    assert.equal(typeof fullDate(at), 'string')
  }
  assert.equal(ago(100, 100 + 7200), '2h')
})

test('a name of which nothing is seen is none', () => {
  for (const blank of ['', ' ', '\u3164', '\u2800\u2800', '\u200b\u200d\u2060', '\u00ad', '\u{e0041}\u{e0042}', '\u0301', '\u115f\u1160', '\uffa0 \u202e']) {
    assert.equal(cleanName(blank, 50), '', JSON.stringify(blank))
  }
  assert.equal(cleanName('\u202eAda\u00ad \u{e0020}Marsh', 50), 'Ada Marsh')
  assert.equal(cleanName('👩‍👩‍👧 می‌خواهم', 50), '👩‍👩‍👧 می‌خواهم', 'joiners stay: scripts and pictographs need them')
})

test('what weighed is said as a person would, and by the catalogue where no sentence is known', () => {
  const cases = [
    ['note.age_hours', 3, 'It was written 3 hours ago'],
    ['note.is_article', 1, 'It is an article'],
    ['count.likes', 1, '1 account liked it'],
    ['count.likes', 0, 'Nobody liked it'],
    ['count.replies_trust', 0, 'Nobody this relay trusts answered it'],
    ['proof.reposts', 2, '2 people you follow reposted it'],
    ['pair.follows', 1, 'You follow its author'],
    ['author.mute_share', 0.25, '25 % of those who know its author mute them'],
    ['rate.trust_6h', 1.5, 'Trusted support that comes in, over 6h: 1.5 an hour'],
    ['something.new', 0.5, 'What it is: 0.5'],
  ]
  for (const [feature, value, said] of cases) assert.equal(reasonInWords(feature, value, 'what it is'), said)
})

test('feeds are offered by what they declare, and by nothing about who listed them', () => {
  const feed = (name, personalized, admitted = true) => ({ ref: name, name, personalized, admitted, author: name })
  const groups = groupsOf([feed('Zebra', false), feed('Mine', true), feed('Apple', false), feed('Aged', false, false)])
  assert.deepEqual(groups.map(g => g.list.map(f => f.name)), [['Apple', 'Zebra', 'Aged'], ['Mine']])
})

test('a feed whose name occurs twice says whose it is, and the relay its own first', () => {
  const feed = (ref, name, author) => ({ ref, name, author, admitted: true, personalized: false })
  const [us, ann, bob, eve] = ['a', 'b', 'c', 'e'].map(c => c.repeat(64))
  const feeds = [feed('naddr1x', 'Hot', ann), feed('naddr1y', 'Hot', bob), feed('naddr1z', 'Hot', eve), feed('hot', 'Hot', us), feed('naddr1v', 'Only', ann), feed('latest', 'Hot2', us)]
  const names = { [ann]: 'Ann', [bob]: 'Bob', [eve]: 'This relay' }
  const list = groupsOf(told(feeds, key => names[key]))[0].list
  assert.deepEqual(list.map(f => f.name.replace(/npub1\S+/, 'npub')), ['Hot · this relay', 'Hot · Ann', 'Hot · Bob', 'Hot · This relay npub', 'Hot2', 'Only'])
  assert.deepEqual(strangersOf(feeds), [ann, bob, eve])
  names[bob] = 'Ann'
  const twins = told(feeds, key => names[key]).map(f => f.name)
  assert.equal(new Set(twins).size, twins.length)
})

test('why a ranker did not answer is said in words', () => {
  assert.equal(failure('late'), 'its model took too long')
  assert.equal(failure('something new'), 'something new')
  assert.equal(sentence('the relay cannot be reached'), 'The relay cannot be reached.')
})
