// Writes events as a stranger would.
import { finalizeEvent, generateSecretKey, getPublicKey } from 'nostr-tools/pure'
import WebSocket from 'ws'

export function newAuthor(socket) {
  const secret = generateSecretKey()
  const sign = draft => finalizeEvent({ created_at: Math.floor(Date.now() / 1000), tags: [], content: '', kind: 1, ...draft }, secret)
  return {
    pubkey: getPublicKey(secret),
    sign,
    /** Publishes and gives the event back once the relay has said OK. */
    async publish(draft) {
      const event = sign(draft)
      await send(socket, event)
      return event
    },
  }
}

function send(socket, event) {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(socket)
    const late = setTimeout(() => reject(new Error('no OK within a minute')), 60_000)
    ws.on('open', () => ws.send(JSON.stringify(['EVENT', event])))
    ws.on('error', reject)
    ws.on('message', data => {
      const [verb, id, ok, reason] = JSON.parse(data)
      if (verb !== 'OK' || id !== event.id) return
      clearTimeout(late)
      ws.close()
      if (ok) resolve()
      else reject(new Error(reason))
    })
  })
}
