/** A Nostr event without its signature. */
export interface Note {
  id: string // hex
  pubkey: string // hex
  kind: number
  created_at: number // Unix seconds
  content: string
  tags: string[][]
}

/** What kind 0 says of a key; every text is a stranger's and already cleaned. */
export interface Profile {
  name: string
  about: string
  nip05: string
  website: string // http(s) address or empty
}

export interface Knob {
  name: string
  min: number
  max: number
  default: number
  unit: string
  about: string
}

/** A listing as GET /v1/feeds tells it. */
export interface Feed {
  ref: string
  name: string
  plain?: string // the name alone, where name also says whose feed it is
  about: string
  author: string // hex
  version: string // id of its manifest
  address: string
  model: string // sha256 in hex or empty
  modelURL: string
  knobs: Knob[]
  stages: string[]
  inputs: string[]
  fallback: string
  personalized: boolean
  privacy: string // public, viewer or personal
  license: string
  admitted: boolean
  relay: string // ws address of the feed for other clients
  ranked: string
  rss: string
}

/** One feature that weighed in a score. */
export interface Reason {
  feature: string
  value: number
  weight: number // how much lower the score is with the mean in its place
  words: string
}

export interface Item {
  rank: number
  score: number | null
  note: Note
  reasons: Reason[]
}

/** How a page came about. */
export interface Why {
  feed: string // that ranked it
  asked: string // that was asked for
  version: string
  model: string
  catalogue: number
  fallback: string // why another feed answered; empty: it did not
  privacy: string
  stages: string[]
  knobs: Record<string, number>
  candidates: number
  at: number // Unix seconds
  total: number
}

export interface Page {
  items: Item[]
  cursor: string
  why: Why
}

/** One feed that carries a note, as GET /v1/why tells it. */
export interface Carried {
  feed: string
  name: string
  rank: number
  score: number
  reasons: Reason[]
}

/** What to ask a feed for. */
export interface Ask {
  feed: string
  knobs: Record<string, number>
  viewer: string // hex or empty
  limit: number
  cursor?: string
  reasons?: boolean
}

/** Where a key stands in the relay's graph. */
export interface Standing {
  follows: number
  followers: number
  trust: number // 0 to 1
}

/** What others did with a note, in distinct people. */
export interface Echo {
  replies: number
  likes: number
  reposts: number
}
