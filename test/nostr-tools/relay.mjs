// Starts the relay for a test and stops it again. The binary is AGORA or
// bin/agora, which `make build` leaves.
import { execFile, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const binary = process.env.AGORA ?? fileURLToPath(new URL('../../bin/agora', import.meta.url))

/** Starts agora on a free port, with the events of a file where one is given; resolves when it has said where it listens. */
export async function startRelay({ settings = [], events = '' } = {}) {
  const data = await mkdtemp(join(tmpdir(), 'agora-'))
  if (events) await promisify(execFile)(binary, ['import', '--data', data, events])
  const child = spawn(binary, ['serve', '--listen', '127.0.0.1:0', '--data', data, '--assertions=0', '--bring=false', ...settings], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  const url = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`agora does not say where it serves: ${said}`)), 60_000)
    const listen = chunk => {
      said += chunk
      const found = said.match(/ws:\/\/127\.0\.0\.1:\d+/)
      if (found) {
        clearTimeout(late)
        resolve(found[0])
      }
    }
    child.stdout.on('data', listen)
    child.stderr.on('data', listen)
    child.on('error', reject)
    child.on('exit', code => reject(new Error(`agora ended with ${code}: ${said}`)))
  })
  const stop = async () => {
    const ended = new Promise(resolve => child.once('exit', resolve))
    child.kill('SIGTERM')
    const code = await ended
    await rm(data, { recursive: true, force: true })
    return code
  }
  return { url, stop }
}
