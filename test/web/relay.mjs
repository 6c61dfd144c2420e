// Starts the relay for a test and stops it again. The binary is AGORA or
// bin/agora, which `make build` leaves.
import { execFile, spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
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
  const settings = ['--listen=127.0.0.1:0', `--data=${data}`, '--feeds-age=36500d', '--assertions=0', '--bring=false'] // the real events are years old
  const child = spawn(binary, ['serve', ...settings], { stdio: ['ignore', 'pipe', 'pipe'] })
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
  const worked = () => processorTime(child.pid)
  const relay = { url: socket.replace('ws', 'http'), socket, stop, worked, said: () => said }
  if (events) {
    await ranked(relay).catch(async error => {
      await stop()
      throw error
    })
  }
  return relay
}

/** How long a process has worked so far, in ms; Linux counts in hundredths of a second. */
async function processorTime(pid) {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).replace(/^.*\) /, '').split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10 // utime and stime
}

/** Waits until the feeds have counted what was imported: two pages stay as they are for two seconds. */
async function ranked(relay) {
  let before = ''
  let same = 0
  for (const late = Date.now() + 90_000; Date.now() < late; await new Promise(r => setTimeout(r, 500))) {
    const now = JSON.stringify([await ids(relay, 'latest'), await ids(relay, 'hot')])
    same = now === before && now.length > 2000 ? same + 1 : 0
    if (same === 4) return
    before = now
  }
  throw new Error(`the feeds do not come to rest: ${before.slice(0, 300)} ${relay.said().slice(-2000)}`)
}

async function ids(relay, feed) {
  const resp = await fetch(`${relay.url}/v1/feeds/${feed}?limit=50`).catch(() => ({ ok: false }))
  return resp.ok ? (await resp.json()).items.map(i => i.event.id) : []
}
