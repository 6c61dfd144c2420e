// The relay behind this page, over its websocket.
import { AbstractRelay } from 'nostr-tools/abstract-relay'
import type { Filter } from 'nostr-tools/filter'
import { readNote } from './json'
import type { Note } from './types'

const patience = 10_000 // ms for stored events to arrive

export class Socket {
  // Signatures were checked when the relay took the events in. The same relay
  // serves this code, so checking again here would prove nothing more.
  #relay = new AbstractRelay(location.origin.replace(/^http/, 'ws') + '/', { verifyEvent: () => true, enableReconnect: true })

  /** Stored events that match, in the order in which they came. */
  async query(filter: Filter): Promise<Note[]> {
    await this.#relay.connect()
    return new Promise(resolve => {
      const notes: Note[] = []
      const sub = this.#relay.subscribe([filter], {
        onevent: event => push(notes, event),
        oneose: () => sub.close(),
        onclose: () => resolve(notes),
        eoseTimeout: patience,
      })
    })
  }

  /** Tells of each new note until stopped. */
  follow(filter: Filter, tell: (note: Note) => void): () => void {
    let stopped = false
    let sub: { close(): void } | undefined
    const begin = async () => {
      await this.#relay.connect()
      if (stopped) return
      sub = this.#relay.subscribe([filter], {
        onevent: event => {
          const note = readNote(event)
          if (note) tell(note)
        },
      })
    }
    begin().catch(() => undefined) // without the socket the page still reads by HTTP
    return () => {
      stopped = true
      sub?.close()
    }
  }
}

function push(notes: Note[], event: unknown): void {
  const note = readNote(event)
  if (note) notes.push(note)
}
