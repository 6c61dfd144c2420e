// Where the reader is: all of it stands in the page's address, so that a link
// carries the feed, its setting, the comparison and the open thread.
import { readKey } from './text'
import { isHex64 } from './json'

export interface Place {
  feed: string
  knobs: Record<string, number>
  versus: string // the other feed of a comparison; empty: none
  versusKnobs: Record<string, number>
  viewer: string // hex or empty
  note: string // open thread, hex or empty
  person: string // open profile, hex or empty
}

export function readPlace(search: string): Place {
  const q = new URLSearchParams(search)
  const note = q.get('note') ?? ''
  return {
    feed: q.get('feed') ?? '',
    knobs: readKnobs(q, 'knob.'),
    versus: q.get('versus') ?? '',
    versusKnobs: readKnobs(q, 'versus.knob.'),
    viewer: readKey(q.get('viewer') ?? ''),
    note: isHex64(note) ? note : '',
    person: readKey(q.get('person') ?? ''),
  }
}

function readKnobs(q: URLSearchParams, prefix: string): Record<string, number> {
  const knobs: Record<string, number> = {}
  for (const [name, text] of q) {
    const value = Number(text)
    if (name.startsWith(prefix) && text !== '' && Number.isFinite(value)) knobs[name.slice(prefix.length)] = value
  }
  return knobs
}

export function writePlace(p: Place): string {
  const q = new URLSearchParams()
  if (p.feed) q.set('feed', p.feed)
  for (const [name, value] of Object.entries(p.knobs)) q.set(`knob.${name}`, String(value))
  if (p.versus) q.set('versus', p.versus)
  for (const [name, value] of Object.entries(p.versusKnobs)) q.set(`versus.knob.${name}`, String(value))
  if (p.viewer) q.set('viewer', p.viewer)
  if (p.note) q.set('note', p.note)
  if (p.person) q.set('person', p.person)
  const text = q.toString()
  return text ? `/?${text}` : '/'
}

class Route {
  place = $state<Place>(readPlace(location.search))

  constructor() {
    window.addEventListener('popstate', () => (this.place = readPlace(location.search)))
  }

  /** Goes elsewhere; the browser's back leads here again. */
  go(change: Partial<Place>): void {
    this.place = { ...this.place, ...change }
    history.pushState(null, '', writePlace(this.place))
  }

  /** Corrects the address without a step of history. */
  settle(change: Partial<Place>): void {
    this.place = { ...this.place, ...change }
    history.replaceState(null, '', writePlace(this.place))
  }

  /** The address of another place, for a link that can be copied. */
  href(change: Partial<Place>): string {
    return writePlace({ ...this.place, ...change })
  }
}

export const route = new Route()
