import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'

import { startRelay } from '../../test/nostr-tools/relay.mjs'

test('the TypeScript example asks, votes and reads a signed tally', async () => {
  const relay = await startRelay()
  try {
    const { stdout } = await promisify(execFile)(process.execPath, ['build/poll.js', relay.url.replace(/^ws/, 'http')])
    assert.match(stdout, /^open: Tea 1, Coffee 0; certificate [0-9a-f]{64}\n$/)
  } finally {
    await relay.stop()
  }
})
