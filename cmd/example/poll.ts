// Asks a question over HTTP and reads the tally, in TypeScript with nostr-tools.
//
//   npm ci && npm run build && node build/poll.js http://127.0.0.1:7447
import { createHash, randomUUID } from 'node:crypto'
import { WebSocket } from 'ws' // Node has its own from 22 on
import { finalizeEvent, generateSecretKey, verifyEvent, type Event } from 'nostr-tools/pure'

interface Option { id: string; label: string; ballots: number }
interface Tally { state: string; counts: string; count: number; x: string; people: { options: Option[] }; keys: { options: Option[] }; certificate: Event }

const relay = process.argv[2] ?? 'http://127.0.0.1:7447'
const secret = generateSecretKey()

// signed by NIP-98, for the relay signs the poll with a key that it keeps for us
async function post<T>(path: string, question: unknown): Promise<T> {
  const body = JSON.stringify(question)
  const token = finalizeEvent({
    kind: 27235, created_at: Math.floor(Date.now() / 1000), content: '',
    tags: [['u', relay + path], ['method', 'POST'], ['payload', createHash('sha256').update(body).digest('hex')], ['nonce', randomUUID()]],
  }, secret)
  const answer = await fetch(relay + path, { method: 'POST', body, headers: { authorization: 'Nostr ' + btoa(JSON.stringify(token)) } })
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`)
  return await answer.json() as T
}

const poll = await post<{ id: string; url: string }>('/v1/polls', {
  question: 'Tea or coffee?', options: [{ id: 't', label: 'Tea' }, { id: 'c', label: 'Coffee' }],
})
const vote = finalizeEvent({ kind: 1018, created_at: Math.floor(Date.now() / 1000), content: '', tags: [['e', poll.id], ['response', 't']] }, generateSecretKey())
await new Promise<void>((done, fail) => { // a plain ballot: it counts a key, not a person
  const ws = new WebSocket(relay.replace(/^http/, 'ws'))
  ws.onopen = () => ws.send(JSON.stringify(['EVENT', vote]))
  ws.onerror = () => fail(new Error('the relay cannot be reached'))
  ws.onmessage = message => {
    const [label, id, ok, why] = JSON.parse(String(message.data))
    if (label !== 'OK' || id !== vote.id) return
    ws.close()
    if (ok) done()
    else fail(new Error(why))
  }
})
const tally = await (await fetch(`${relay}/v1/polls/${poll.id}/tally`)).json() as Tally
if (!verifyEvent(tally.certificate)) throw new Error('the certificate is not signed')
const shown = tally.counts === 'people' ? tally.people : tally.keys
console.log(`${tally.state}: ${shown.options.map(o => `${o.label} ${o.ballots}`).join(', ')}; certificate ${tally.x}`)
