// Strangers' text, taken apart into pieces that are shown as text and never as
// markup. What is a link must be on the list of allowed schemes.
import * as nip19 from 'nostr-tools/nip19'
import { isHex64 } from './json'

export type Piece =
  | { is: 'text'; text: string }
  | { is: 'link'; url: string; host: string; label: string; picture: boolean }
  | { is: 'person'; pubkey: string }
  | { is: 'note'; id: string; label: string }
  | { is: 'tag'; text: string }

// Controls, and the characters that turn the direction of what follows or are
// not seen at all; line breaks and tabs stay.
const unseen = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff9-\ufffb\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]/gu
const marks = /(\p{M}{3})\p{M}+/gu

/** A text without what could disguise it, at most `most` characters on one line. */
export function clean(text: string, most: number): string {
  const line = tidy(text.slice(0, most * 8)).replace(/\s+/g, ' ').trim()
  const chars = [...line]
  return chars.length > most ? `${chars.slice(0, most - 1).join('')}…` : line
}

/** The same for a name: empty where nothing of it would be seen. */
export function cleanName(text: string, most: number): string {
  const name = clean(text, most)
  return /[\p{L}\p{N}\p{P}\p{S}]/u.test(name) ? name : ''
}

/** The same for a text of many lines. Piles of combining marks are cut to three. */
export function tidy(text: string): string {
  return text.replace(/\r\n?/g, '\n').replace(unseen, '').replace(marks, '$1').replace(/\n{3,}/g, '\n\n')
}

/** An address that may be linked to, or null: http and https with a host and without a password. */
export function safeURL(text: string): URL | null {
  if (text.length > 2000) return null
  try {
    const url = new URL(text)
    const allowed = (url.protocol === 'https:' || url.protocol === 'http:') && url.hostname !== '' && !url.username && !url.password
    return allowed ? url : null
  } catch {
    return null
  }
}

const pieceForm = /(https?:\/\/[^\s<>"'`{}|\\^]+)|(?:nostr:|@)?\b((?:npub1|note1|nprofile1|nevent1|naddr1)[02-9ac-hj-np-z]{20,1500})|#\[(\d{1,3})\]|(?<![\p{L}\p{N}_#/&])#([\p{L}\p{N}_]{1,60})/gu

const mostPieces = 400

/** Takes a note's text apart. tags are the note's, for the old form #[0]. */
export function takeApart(content: string, tags: string[][] = []): Piece[] {
  const text = tidy(content).slice(0, 20_000)
  const pieces: Piece[] = []
  let at = 0
  for (const found of text.matchAll(pieceForm)) {
    if (pieces.length >= mostPieces) break
    const [piece, length] = readPiece(found, tags)
    if (!piece) continue
    if (found.index > at) pieces.push({ is: 'text', text: text.slice(at, found.index) })
    pieces.push(piece)
    at = found.index + length
  }
  if (at < text.length) pieces.push({ is: 'text', text: text.slice(at) })
  return pieces
}

function readPiece(found: RegExpMatchArray, tags: string[][]): [Piece | null, number] {
  const [whole, url, code, index, tag] = found
  if (url !== undefined) {
    const trimmed = trimURL(url)
    return [link(trimmed), trimmed.length]
  }
  if (code !== undefined) return [entity(code), whole.length]
  if (index !== undefined) return [oldMention(tags[Number(index)]), whole.length]
  return [tag === undefined || /^\d+$/.test(tag) ? null : { is: 'tag', text: tag }, whole.length]
}

/** Punctuation at the end belongs to the sentence; a bracket only when it was opened in the address. */
function trimURL(url: string): string {
  let end = url.length
  for (; end > 0; end--) {
    const last = url[end - 1] ?? ''
    if ('.,;:!?*…'.includes(last)) continue
    if (last === ')' && !url.slice(0, end - 1).includes('(')) continue
    if (last === ']' && !url.slice(0, end - 1).includes('[')) continue
    break
  }
  return url.slice(0, end)
}

/** A text on one line, with names for keys and short labels for addresses. */
export function plainText(content: string, tags: string[][], name: (pubkey: string) => string, most: number): string {
  const words = takeApart(content, tags).map(piece => {
    switch (piece.is) {
      case 'text':
        return piece.text
      case 'person':
        return `@${name(piece.pubkey)}`
      case 'link':
        return piece.picture ? `[picture at ${piece.host}]` : piece.label
      case 'note':
        return piece.label
      case 'tag':
        return `#${piece.text}`
    }
  })
  return clean(words.join(''), most)
}

const pictures = /\.(?:jpe?g|png|gif|webp|avif|svg|bmp)$/i

function link(text: string): Piece | null {
  const url = safeURL(text)
  if (!url) return null
  const rest = url.pathname === '/' && !url.search ? '' : url.pathname + url.search
  const host = url.host.length > 40 ? `…${url.host.slice(-39)}` : url.host // its end says whose it is
  const label = host + (rest.length > 40 ? `${rest.slice(0, 39)}…` : rest)
  return { is: 'link', url: url.href, host, label, picture: pictures.test(url.pathname) }
}

function oldMention(tag: string[] | undefined): Piece | null {
  if (!tag || !isHex64(tag[1])) return null
  if (tag[0] === 'p') return { is: 'person', pubkey: tag[1] }
  return tag[0] === 'e' ? { is: 'note', id: tag[1], label: shortNote(tag[1]) } : null
}

function entity(code: string): Piece | null {
  try {
    const found = nip19.decode(code)
    switch (found.type) {
      case 'npub':
        return { is: 'person', pubkey: found.data }
      case 'nprofile':
        return { is: 'person', pubkey: found.data.pubkey }
      case 'note':
        return { is: 'note', id: found.data, label: shortNote(found.data) }
      case 'nevent':
        return { is: 'note', id: found.data.id, label: shortNote(found.data.id) }
    }
  } catch {
    // the checksum is wrong: it stays the text that it is
  }
  return null
}

export const shortNote = (id: string): string => `note ${id.slice(0, 8)}`

/** A public key out of npub, nprofile or hex; empty when it is none. */
export function readKey(text: string): string {
  const t = text.trim().replace(/^nostr:/, '')
  if (isHex64(t.toLowerCase())) return t.toLowerCase()
  const found = entity(t)
  return found?.is === 'person' ? found.pubkey : ''
}

export const npubOf = (pubkey: string): string => nip19.npubEncode(pubkey)

export const shortKey = (pubkey: string): string => {
  const npub = npubOf(pubkey)
  return `${npub.slice(0, 9)}…${npub.slice(-4)}`
}
