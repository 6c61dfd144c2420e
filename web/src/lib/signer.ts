// NIP-07: the reader's key stays in their extension, which signs for us.

export interface Draft {
  kind: number
  created_at: number
  tags: string[][]
  content: string
}

interface Extension {
  getPublicKey(): Promise<string>
  signEvent(draft: Draft): Promise<object>
}

declare global {
  interface Window {
    nostr?: Extension
  }
}

export const hasSigner = (): boolean => typeof window.nostr?.getPublicKey === 'function'

function extension(): Extension {
  if (!window.nostr) {
    throw new Error('no signing extension (NIP-07) answers in this browser')
  }
  return window.nostr
}

export async function askPublicKey(): Promise<string> {
  const key = await extension().getPublicKey()
  if (!/^[0-9a-f]{64}$/.test(key)) {
    throw new Error('the signing extension gave something that is no public key')
  }
  return key
}

export const sign = (draft: Draft): Promise<object> => extension().signEvent(draft)

/** The Authorization header of a GET (NIP-98). */
export async function authorization(url: string): Promise<string> {
  const tags = [
    ['u', url],
    ['method', 'GET'],
    ['nonce', crypto.getRandomValues(new Uint32Array(4)).join('')], // two of one second must differ: each counts once
  ]
  const event = await sign({ kind: 27235, created_at: Math.floor(Date.now() / 1000), tags, content: '' })
  return `Nostr ${btoa(JSON.stringify(event))}`
}
