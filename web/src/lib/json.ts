// Reading answers that we do not control into types that cannot be wrong.
import type { Note } from './types'

type Raw = Record<string, unknown>

export const isRecord = (v: unknown): v is Raw => typeof v === 'object' && v !== null && !Array.isArray(v)
export const asText = (v: unknown): string => (typeof v === 'string' ? v : '')
export const asNumber = (v: unknown, otherwise = 0): number => (typeof v === 'number' && Number.isFinite(v) ? v : otherwise)
export const asList = (v: unknown): unknown[] => (Array.isArray(v) ? v : [])
export const asTexts = (v: unknown): string[] => asList(v).filter((x): x is string => typeof x === 'string')

const hex64 = /^[0-9a-f]{64}$/

export const isHex64 = (v: unknown): v is string => typeof v === 'string' && hex64.test(v)

/** An event as the relay sends it; null when it is none. Its signature was checked by the relay, which also serves this page. */
export function readNote(v: unknown): Note | null {
  if (!isRecord(v) || !isHex64(v.id) || !isHex64(v.pubkey) || typeof v.kind !== 'number' || typeof v.content !== 'string') {
    return null
  }
  const tags = asList(v.tags).map(asTexts).filter(t => t.length > 0)
  return { id: v.id, pubkey: v.pubkey, kind: v.kind, created_at: asNumber(v.created_at), content: v.content, tags }
}
