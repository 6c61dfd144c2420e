// Two rankings beside each other.
import type { Item } from './types'

/** One note that both have: its place in each, from 0. */
export interface Join {
  id: string
  left: number
  right: number
}

export function joins(left: Item[], right: Item[]): Join[] {
  const place = new Map(right.map((item, i) => [item.note.id, i]))
  return left.flatMap((item, i) => {
    const other = place.get(item.note.id)
    return other === undefined ? [] : [{ id: item.note.id, left: i, right: other }]
  })
}

/** Kendall's tau of the notes that both have: 1 the same order, -1 the opposite; NaN below two notes. */
export function agreement(list: Join[]): number {
  let same = 0
  let pairs = 0
  for (const [i, a] of list.entries()) {
    for (const b of list.slice(i + 1)) {
      same += Math.sign((a.left - b.left) * (a.right - b.right))
      pairs++
    }
  }
  return pairs ? same / pairs : NaN
}
