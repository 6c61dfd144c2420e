// Starts the relay for a test and stops it again. The binary is AGORA or
// bin/agora, which `make build` leaves.
import { execFile, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const binary = process.env.AGORA ?? fileURLToPath(new URL('../../bin/agora', import.meta.url))

/** The real events that every part of the project is tested with. */
export const realEvents = fileURLToPath(new URL('../../testdata/nostr/events.jsonl.zst', import.meta.url))

/** Starts agora on a free port, with the events of a file where one is given. */
export async function startRelay(events) {
  const data = await mkdtemp(join(tmpdir(), 'agora-web-'))
  if (events) await promisify(execFile)(binary, ['import', '--data', data, events])
  const child = spawn(binary, ['serve', '--listen', '127.0.0.1:0', '--data', data, '--assertions=0', '--bring=false'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  const socket = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`agora does not say where it serves: ${said}`)), 60_000)
    const listen = chunk => {
      said += chunk
      const found = said.match(/ws:\/\/127\.0\.0\.1:\d+/)
      if (!found) return
      clearTimeout(late)
      resolve(found[0])
    }
    child.stdout.on('data', listen)
    child.stderr.on('data', listen)
    child.on('error', reject)
    child.on('exit', code => reject(new Error(`agora ended with ${code}: ${said}`)))
  })
  const stop = async () => {
    const ended = new Promise(resolve => child.once('exit', resolve))
    child.kill('SIGTERM')
    await ended
    await rm(data, { recursive: true, force: true })
  }
  const relay = { url: socket.replace('ws', 'http'), socket, stop, said: () => said }
  if (events) await ranked(relay)
  return relay
}

/** Waits until the feeds have counted what was imported. */
async function ranked(relay) {
  let last = ''
  for (const late = Date.now() + 60_000; Date.now() < late; await new Promise(r => setTimeout(r, 200))) {
    const resp = await fetch(`${relay.url}/v1/feeds/latest?limit=50`).catch(error => ({ ok: false, text: () => String(error) }))
    last = await resp.text()
    if (resp.ok && JSON.parse(last).items.length === 50) return
  }
  throw new Error(`the latest feed has no 50 notes after a minute: ${last.slice(0, 500)}`)
}
