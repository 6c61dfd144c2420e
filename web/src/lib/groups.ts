// The feeds in the order in which the page offers them. It follows from what a
// feed declares, and not from who listed it, unless its name is another's too.
import { shortKey } from './text'
import type { Feed } from './types'

export interface Group {
  about: string
  list: Feed[]
}

const here = 'this relay'

/** Whether the relay finds a feed by its short name: another relay's feed of that name goes by its address. */
const own = (feed: Feed): boolean => !feed.ref.startsWith('naddr1') && !feed.ref.includes(':')

/** Who else than the relay lists a feed of a name that occurs more than once. */
export function strangersOf(feeds: Feed[]): string[] {
  return feeds.filter(f => f.author && !own(f) && alike(feeds, f).length > 1).map(f => f.author)
}

const alike = (feeds: Feed[], feed: Feed): Feed[] => feeds.filter(f => f.name === feed.name)

/** The feeds with whose they are beside each name that occurs more than once. nameOf is an author's name, or a short key. */
export function told(feeds: Feed[], nameOf: (author: string) => string): Feed[] {
  return feeds.map(feed => {
    const same = alike(feeds, feed)
    if (same.length < 2) return feed
    if (own(feed)) return { ...feed, plain: feed.name, name: `${feed.name} · ${here}` }
    const name = nameOf(feed.author)
    const taken = name.toLowerCase() === here || same.some(f => f.author !== feed.author && !own(f) && nameOf(f.author) === name)
    return { ...feed, plain: feed.name, name: `${feed.name} · ${name}${taken ? ` ${shortKey(feed.author)}` : ''}` }
  })
}

const byName = (a: Feed, b: Feed): number => (a.plain ?? a.name).localeCompare(b.plain ?? b.name, 'en') || Number(own(b)) - Number(own(a)) || a.name.localeCompare(b.name, 'en')

/** Feeds that are the same for all, then those that depend on who reads; by name, those that cannot run last, of one name the relay's own first. */
export function groupsOf(feeds: Feed[]): Group[] {
  const list = feeds.toSorted((a, b) => Number(b.admitted) - Number(a.admitted) || byName(a, b))
  const groups = [
    { about: 'The same for all', list: list.filter(f => !f.personalized) },
    { about: 'By who reads', list: list.filter(f => f.personalized) },
  ]
  return groups.filter(g => g.list.length)
}
