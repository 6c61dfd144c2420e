// One feed as it is read: its page, the pages after it, and what has changed
// on the relay since.
import { fetchPage, Refused } from './api'
import type { Feed, Item, Knob, Page, Reason, Why } from './types'

export const pageSize = 30

/** What distinguishes one reading of a feed from another. */
export interface Reading {
  feed: Feed
  knobs: Record<string, number>
  viewer: string
  signed: boolean // the reader's extension can sign for the viewer
}

export class Column {
  items = $state.raw<Item[]>([])
  why = $state.raw<Why | null>(null)
  cursor = $state('')
  busy = $state(false)
  trouble = $state('')
  fresh = $state.raw<Page | null>(null) // a newer page that waits to be shown
  made = $state(0) // pages shown so far
  #reading: Reading | null = null
  #abort: AbortController | null = null
  #stranger = '' // a signed-in reader of whom the relay knew nothing

  /** Loads the first page; a question under way is given up. */
  async load(reading: Reading): Promise<void> {
    this.#abort?.abort()
    const abort = (this.#abort = new AbortController())
    if (this.#reading?.feed.ref !== reading.feed.ref) this.items = []
    this.#reading = reading
    this.busy = true
    try {
      this.#show(await this.#ask(reading, { limit: pageSize }, abort.signal))
      this.trouble = ''
    } catch (error) {
      if (abort.signal.aborted) return
      this.trouble = say(error)
      this.items = []
      this.why = null
    }
    this.busy = false
  }

  again(): void {
    if (this.#reading) void this.load(this.#reading)
  }

  /** Adds the page that follows, from the same snapshot. */
  async more(): Promise<void> {
    const reading = this.#reading
    if (!reading || !this.cursor || this.busy) return
    const abort = (this.#abort = new AbortController())
    this.busy = true
    try {
      const page = await this.#ask(reading, { limit: pageSize, cursor: this.cursor }, abort.signal)
      const had = new Set(this.items.map(i => i.note.id))
      this.items = [...this.items, ...page.items.filter(i => !had.has(i.note.id))]
      this.cursor = page.cursor
    } catch (error) {
      if (!abort.signal.aborted) this.trouble = say(error)
    }
    if (!abort.signal.aborted) this.busy = false
  }

  /** Asks whether the page would be another now, and keeps it for the reader to open. */
  async look(): Promise<void> {
    const reading = this.#reading
    if (!reading || this.busy) return
    try {
      const page = await this.#ask(reading, { limit: pageSize })
      const shown = new Set(this.items.map(i => i.note.id))
      if (this.#reading === reading && page.items.some(i => !shown.has(i.note.id))) this.fresh = page
    } catch {
      // the page that is there stays; the next look tries again
    }
  }

  get freshCount(): number {
    const shown = new Set(this.items.map(i => i.note.id))
    return this.fresh?.items.filter(i => !shown.has(i.note.id)).length ?? 0
  }

  /** Opens the newer page; the first note that was not there before is given back. */
  showFresh(): string {
    const shown = new Set(this.items.map(i => i.note.id))
    const first = this.fresh?.items.find(i => !shown.has(i.note.id))
    if (this.fresh) this.#show(this.fresh)
    return first?.note.id ?? ''
  }

  /** What weighed in a note's score. It costs the relay another run of the model, so it is asked for when somebody wants to know. */
  async reasons(item: Item): Promise<Reason[]> {
    if (item.reasons.length || !this.#reading) return item.reasons
    const page = await this.#ask(this.#reading, { limit: Math.min(500, Math.max(pageSize, item.rank)), reasons: true })
    return page.items.find(i => i.note.id === item.note.id)?.reasons ?? []
  }

  #ask(r: Reading, more: { limit: number; cursor?: string; reasons?: boolean }, signal?: AbortSignal): Promise<Page> {
    const ask = { feed: r.feed.ref, viewer: r.viewer, knobs: within(r.feed, r.knobs), ...more }
    if (r.signed && (r.feed.privacy === 'personal' || this.#stranger === r.viewer)) return fetchPage(ask, signal, true)
    return fetchPage(ask, signal).catch((error: unknown) => {
      if (!(r.signed && error instanceof Refused && error.status === 404)) throw error
      this.#stranger = r.viewer // the relay knows nothing of a new key unless it signs
      return fetchPage(ask, signal, true)
    })
  }

  #show(page: Page): void {
    this.items = page.items
    this.cursor = page.cursor
    this.why = page.why
    this.fresh = null
    this.made++
  }
}

/** The settings that a feed has, held within its bounds; the others are left out, as an old link may carry them. */
export function within(feed: Feed, knobs: Record<string, number>): Record<string, number> {
  const fitting: Record<string, number> = {}
  for (const k of feed.knobs) {
    const v = knobs[k.name]
    if (v !== undefined && v !== k.default) fitting[k.name] = Math.min(k.max, Math.max(k.min, v))
  }
  return fitting
}

/** A step that gives a slider about two hundred places, of a round size. */
export function stepOf(k: Knob): number {
  const rough = (k.max - k.min) / 200
  if (rough >= 0.5 && [k.min, k.max, k.default].every(Number.isInteger)) return 1
  return 10 ** Math.floor(Math.log10(rough))
}

function say(error: unknown): string {
  if (error instanceof Refused) return error.message
  if (error instanceof TypeError) return 'the relay cannot be reached'
  return error instanceof Error ? error.message : 'something went wrong'
}
