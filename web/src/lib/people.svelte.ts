// What the relay knows beside the page itself: profiles, echoes and notes by
// id. Each is asked for once, together with whatever else is asked at the time.
import { SvelteMap } from 'svelte/reactivity'
import { asText, isRecord } from './json'
import { Socket } from './socket'
import { clean, cleanName, safeURL, shortKey, tidy } from './text'
import type { Echo, Note, Profile } from './types'

const batchDelay = 30 // ms, to collect what one page needs
const batchMost = 100 // keys or ids per filter
const echoMost = 500 // events per batch

export const socket = new Socket()
export const profiles = new SvelteMap<string, Profile>()
export const echoes = new SvelteMap<string, Echo>()
export const known = new SvelteMap<string, Note | null>() // null: the relay has it not

/** Collects keys and asks for them together, each once. */
function batch(ask: (keys: string[]) => Promise<void>): (key: string) => void {
  const seen = new Set<string>()
  let waiting: string[] = []
  const send = () => {
    const keys = waiting.splice(0, batchMost)
    ask(keys).catch(() => keys.forEach(k => seen.delete(k))) // asked again when wanted again
    if (waiting.length) setTimeout(send, batchDelay)
  }
  return key => {
    if (seen.has(key)) return
    seen.add(key)
    if (waiting.push(key) === 1) setTimeout(send, batchDelay)
  }
}

export const wantProfile = batch(async keys => {
  const newest = new Map<string, Note>()
  for (const note of await socket.query({ kinds: [0], authors: keys })) {
    const had = newest.get(note.pubkey)
    if (!had || note.created_at > had.created_at) newest.set(note.pubkey, note)
  }
  for (const [key, note] of newest) profiles.set(key, readProfile(note.content))
})

export function readProfile(content: string): Profile {
  let said: unknown = null
  try {
    said = JSON.parse(content)
  } catch {
    // a profile that is none has no name
  }
  const p = isRecord(said) ? said : {}
  const name = cleanName(asText(p.display_name), 50) || cleanName(asText(p.displayName), 50) || cleanName(asText(p.name), 50)
  return {
    name,
    about: tidy(asText(p.about)).slice(0, 2000).trim(),
    nip05: clean(asText(p.nip05), 80).replace(/^_@/, ''),
    website: safeURL(asText(p.website))?.href ?? '',
  }
}

/** The name to show for a key, whatever is known of it. */
export const nameOf = (pubkey: string): string => profiles.get(pubkey)?.name || shortKey(pubkey)

export const wantNote = batch(async ids => {
  const found = await socket.query({ ids })
  for (const note of found) known.set(note.id, note)
  for (const id of ids) if (!known.has(id)) known.set(id, null)
})

/** Distinct people per note; a note that nobody answers gets zeros. */
export const wantEcho = batch(async ids => {
  const wanted = new Map(ids.map(id => [id, { replies: new Set<string>(), likes: new Set<string>(), reposts: new Set<string>() }]))
  for (const note of await socket.query({ kinds: [1, 6, 7, 16, 1111], '#e': ids, limit: echoMost })) {
    const target = wanted.get(targetOf(note) ?? '')
    if (!target) continue
    if (note.kind === 7) {
      if (note.content !== '-') target.likes.add(note.pubkey)
    } else if (note.kind === 6 || note.kind === 16) {
      target.reposts.add(note.pubkey)
    } else {
      target.replies.add(note.id)
    }
  }
  for (const [id, t] of wanted) echoes.set(id, { replies: t.replies.size, likes: t.likes.size, reposts: t.reposts.size })
})

/** The note that a reply, reaction or repost is about. */
function targetOf(note: Note): string | undefined {
  if (note.kind === 1 || note.kind === 1111) return parentOf(note)
  return note.tags.findLast(t => t[0] === 'e')?.[1]
}

/** The note that a note answers: its e tag marked reply, else root, else the last unmarked one (NIP-10, NIP-22). */
export function parentOf(note: Note): string | undefined {
  const e = note.tags.filter(t => t[0] === 'e' && t[1])
  if (note.kind === 1111) return e.at(-1)?.[1]
  const marked = e.find(t => t[3] === 'reply') ?? e.find(t => t[3] === 'root')
  return (marked ?? e.filter(t => t[3] !== 'mention').at(-1))?.[1]
}

/** The note that a thread began with, as far as a note says. */
export function rootOf(note: Note): string {
  const e = note.tags.filter(t => t[0] === 'e' && t[1])
  const upper = note.tags.find(t => t[0] === 'E' && t[1])
  return upper?.[1] ?? (e.find(t => t[3] === 'root') ?? e.filter(t => t[3] !== 'mention')[0])?.[1] ?? note.id
}
