// What of an event is shown, by its kind.
import { readNote } from './json'
import { clean, takeApart } from './text'
import type { Note } from './types'

export interface Shown {
  note: Note // whose text is shown: for a repost, the note inside
  by: string // who reposted it; empty: nobody
  title: string
  text: string
  warning: string | null // reason of a content warning, may be empty; null: none
  label: string // what it is, where it is no plain note
}

const labels: Record<number, string> = {
  20: 'Picture', 21: 'Video', 22: 'Short video', 1063: 'File', 1068: 'Poll', 1111: 'Comment', 9802: 'Highlight', 30023: 'Article', 30402: 'Offer',
}

/** A tag's first value, or empty. */
export const tagOf = (note: Note, name: string): string => note.tags.find(t => t[0] === name)?.[1] ?? ''

export function show(event: Note): Shown {
  const inside = event.kind === 6 || event.kind === 16 ? readInside(event.content) : null
  const note = inside ?? event
  const warning = note.tags.find(t => t[0] === 'content-warning')
  const article = note.kind === 30023
  return {
    note,
    by: inside ? event.pubkey : '',
    title: clean(tagOf(note, 'title') || tagOf(note, 'subject'), 140),
    text: article ? tagOf(note, 'summary') || note.content.slice(0, 600) : note.content || tagOf(note, 'alt'),
    warning: warning ? clean(warning[1] ?? '', 120) : null,
    label: note.kind === 1 ? '' : (labels[note.kind] ?? `Kind ${note.kind}`),
  }
}

function readInside(content: string): Note | null {
  try {
    return readNote(JSON.parse(content))
  } catch {
    return null
  }
}

const mostQuotes = 2

/** The notes that a note's text names, to be shown below it. */
export function quotesOf(note: Note): string[] {
  const ids = takeApart(note.content, note.tags).flatMap(piece => (piece.is === 'note' && piece.id !== note.id ? [piece.id] : []))
  return [...new Set(ids)].slice(0, mostQuotes)
}

/** The options of a poll (NIP-88). */
export const optionsOf = (note: Note): string[] =>
  note.kind === 1068 ? note.tags.filter(t => t[0] === 'option').slice(0, 20).map(t => clean(t[2] ?? '', 120)) : []
