// The feeds in the order in which the page offers them. It follows from what a
// feed declares, and from nothing about who listed it.
import type { Feed } from './types'

export interface Group {
  about: string
  list: Feed[]
}

/** Feeds that are the same for all, then those that depend on who reads; by name, those that cannot run last. */
export function groupsOf(feeds: Feed[]): Group[] {
  const list = feeds.toSorted((a, b) => Number(b.admitted) - Number(a.admitted) || a.name.localeCompare(b.name, 'en'))
  const groups = [
    { about: 'The same for all', list: list.filter(f => !f.personalized) },
    { about: 'By who reads', list: list.filter(f => f.personalized) },
  ]
  return groups.filter(g => g.list.length)
}
