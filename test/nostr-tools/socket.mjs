// One websocket spoken to without a library, for what libraries do not show:
// the hint of an EOSE, the order on the wire, what follows it, a CLOSED.
import { once } from 'node:events'
import WebSocket from 'ws'

const patience = 60_000 // ms for an answer; a busy machine is slow

export class Wire {
  #ws
  #heard = [] // messages nobody has taken yet
  #wake = () => undefined

  static async open(url) {
    const wire = new Wire()
    wire.#ws = new WebSocket(url)
    wire.#ws.on('message', data => {
      wire.#heard.push(JSON.parse(data))
      wire.#wake()
    })
    await once(wire.#ws, 'open')
    return wire
  }

  send(...message) {
    this.#ws.send(JSON.stringify(message))
  }

  /** The first message that fits, those before it left for others. */
  async take(fits) {
    for (const late = Date.now() + patience; ; ) {
      const at = this.#heard.findIndex(fits)
      if (at >= 0) return this.#heard.splice(at, 1)[0]
      if (Date.now() > late) throw new Error(`nothing came but ${JSON.stringify(this.#heard).slice(0, 1000)}`)
      await new Promise(resolve => {
        this.#wake = resolve
        setTimeout(resolve, 1000)
      })
    }
  }

  /** Asks, and waits for EOSE or CLOSED: the events in their order, the hint, the refusal. */
  async ask(...filters) {
    const id = `q${Math.random()}`.slice(0, 12)
    this.send('REQ', id, ...filters)
    const end = await this.take(m => (m[0] === 'EOSE' || m[0] === 'CLOSED') && m[1] === id)
    const events = this.#heard.filter(m => m[0] === 'EVENT' && m[1] === id).map(m => m[2])
    this.#heard = this.#heard.filter(m => m[1] !== id)
    return end[0] === 'EOSE' ? { id, events, hint: end[2] } : { id, events, closed: end[2] }
  }

  /** What has come for a subscription and was not taken. */
  left = id => this.#heard.filter(m => m[1] === id)

  async publish(event) {
    this.send('EVENT', event)
    const [, , ok, reason] = await this.take(m => m[0] === 'OK' && m[1] === event.id)
    if (!ok) throw new Error(reason)
    return event
  }

  close() {
    this.#ws.close()
  }
}
