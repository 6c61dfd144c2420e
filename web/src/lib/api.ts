// The relay's own HTTP addresses. Nothing else is ever asked.
import { asList, asNumber, asText, asTexts, isRecord, readNote } from './json'
import { authorization } from './signer'
import { clean } from './text'
import type { Ask, Carried, Feed, Item, Knob, Page, Reason, Standing, Why } from './types'

/** A request that was answered with no. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    text: string,
  ) {
    super(text)
  }
}

/** Asks one of the addresses for JSON. */
export async function get(path: string, signal?: AbortSignal, sign = false): Promise<unknown> {
  const headers: Record<string, string> = { Accept: 'application/json' }
  if (sign) {
    headers.Authorization = await authorization(new URL(path, location.href).href)
  }
  const resp = await fetch(path, { headers, signal: signal ?? null, credentials: 'omit' })
  const body: unknown = await resp.json().catch(() => null)
  if (!resp.ok) {
    const said = isRecord(body) ? clean(asText(body.error), 300) : ''
    throw new Refused(resp.status, said || `the relay answered ${resp.status}`)
  }
  return body
}

export async function fetchFeeds(): Promise<Feed[]> {
  const body = await get('/v1/feeds')
  const feeds = isRecord(body) ? asList(body.feeds).map(readFeed) : []
  return feeds.filter((f): f is Feed => f !== null)
}

/** Asks for a page. With sign, the request carries the reader's NIP-98 event. */
export async function fetchPage(ask: Ask, signal?: AbortSignal, sign = false): Promise<Page> {
  const body = await get(pagePath(ask), signal, sign)
  if (!isRecord(body)) {
    throw new Refused(502, 'the relay answered with something that is no page')
  }
  const items = asList(body.items).map(readItem)
  return { items: items.filter((i): i is Item => i !== null), cursor: asText(body.cursor), why: readWhy(body.why) }
}

export function pagePath(ask: Ask): string {
  const q = new URLSearchParams({ limit: String(ask.limit), scores: 'true' })
  if (ask.reasons) q.set('reasons', 'true')
  if (ask.viewer) q.set('viewer', ask.viewer)
  if (ask.cursor) q.set('cursor', ask.cursor)
  for (const [name, value] of Object.entries(ask.knobs)) q.set(name, String(value))
  return `/v1/feeds/${encodeURIComponent(ask.feed)}?${q}`
}

/** Which feeds carry a note, and why. */
export async function fetchCarried(id: string, viewer: string, signal?: AbortSignal): Promise<Carried[]> {
  const body = await get(`/v1/why/${id}${viewer ? `?viewer=${viewer}` : ''}`, signal)
  return isRecord(body) ? asList(body.feeds).map(readCarried).filter((c): c is Carried => c !== null) : []
}

/** Where a key stands in the graph of follows. */
export async function fetchStanding(pubkey: string): Promise<Standing> {
  const body = await get(`/v1/graph/${pubkey}`)
  const of = (v: unknown): Record<string, unknown> => (isRecord(v) ? v : {})
  const s = of(body)
  return { follows: asNumber(of(s.follows).count), followers: asNumber(of(s.followers).count), trust: asNumber(of(s.trust).trust) }
}

/** How the relay presents itself (NIP-11). */
export async function fetchRelayName(): Promise<string> {
  const resp = await fetch('/', { headers: { Accept: 'application/nostr+json' }, credentials: 'omit' })
  const body: unknown = await resp.json()
  return isRecord(body) ? clean(asText(body.name), 40) : ''
}

function readFeed(v: unknown): Feed | null {
  if (!isRecord(v) || !asText(v.ref)) return null
  const model = isRecord(v.model) ? v.model : {}
  const doors = isRecord(v.doors) ? v.doors : {}
  return {
    ref: asText(v.ref),
    name: clean(asText(v.name), 60) || asText(v.ref),
    about: clean(asText(v.about), 600),
    author: asText(v.author),
    version: asText(v.version),
    address: asText(v.address),
    model: asText(model.sha256),
    modelURL: /^\/v1\/models\/[0-9a-f]{64}$/.test(asText(model.url)) ? asText(model.url) : '',
    knobs: asList(v.knobs).map(readKnob).filter((k): k is Knob => k !== null),
    stages: asTexts(v.stages).map(s => clean(s, 100)),
    inputs: asTexts(v.inputs).map(s => clean(s, 100)),
    fallback: clean(asText(v.fallback), 100),
    personalized: v.personalized === true,
    privacy: asText(v.privacy),
    license: clean(asText(v.license), 40),
    admitted: v.status === 'admitted',
    relay: asText(doors.relay),
    ranked: asText(doors.ranked),
    rss: asText(doors.rss),
  }
}

function readKnob(v: unknown): Knob | null {
  if (!isRecord(v) || !/^[a-z][a-z0-9_]{0,31}$/.test(asText(v.name))) return null
  const knob = {
    name: asText(v.name),
    min: asNumber(v.min),
    max: asNumber(v.max),
    default: asNumber(v.default),
    unit: clean(asText(v.unit), 30),
    about: clean(asText(v.about), 300),
  }
  return knob.max > knob.min ? knob : null
}

function readItem(v: unknown): Item | null {
  const note = isRecord(v) ? readNote(v.event) : null
  if (!isRecord(v) || !note) return null
  const score = typeof v.score === 'number' ? v.score : null
  return { rank: asNumber(v.rank), score, note, reasons: readReasons(v.reasons) }
}

function readReasons(v: unknown): Reason[] {
  return asList(v).flatMap(r =>
    isRecord(r) && asText(r.feature)
      ? [{ feature: clean(asText(r.feature), 100), value: asNumber(r.value), weight: asNumber(r.weight), words: clean(asText(r.words), 300) }]
      : [],
  )
}

function readWhy(v: unknown): Why {
  const w = isRecord(v) ? v : {}
  const knobs = isRecord(w.knobs) ? Object.entries(w.knobs).filter((e): e is [string, number] => typeof e[1] === 'number') : []
  return {
    feed: clean(asText(w.feed), 200),
    asked: clean(asText(w.asked), 200),
    version: asText(w.version),
    model: asText(w.model),
    catalogue: asNumber(w.catalogue),
    fallback: clean(asText(w.fallback), 100),
    privacy: asText(w.privacy),
    stages: asTexts(w.stages).map(s => clean(s, 100)),
    knobs: Object.fromEntries(knobs),
    candidates: asNumber(w.candidates),
    at: asNumber(w.at),
    total: asNumber(w.total),
  }
}

function readCarried(v: unknown): Carried | null {
  if (!isRecord(v) || !asText(v.feed)) return null
  const name = clean(asText(v.name), 60) || asText(v.feed)
  return { feed: asText(v.feed), name, rank: asNumber(v.rank), score: asNumber(v.score), reasons: readReasons(v.reasons) }
}
