// The prover as WebAssembly in a worker of headless Chromium: CHROMIUM or
// `chromium`, GO or `go`.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const go = process.env.GO ?? 'go'
const root = fileURLToPath(new URL('../../..', import.meta.url))
const here = name => fileURLToPath(new URL(name, import.meta.url))

// of `agora group invite`, for a group that nobody keeps
const invitation = 'agorainvite1qxfe56rm7jxw7cdhupkjsl9cq92rfjcwutk2c2d35frky2s6tfzc8yu6dpalfr80vxm7qmfg0juqz4p5ev8w9m9v9xc6y3mz9gd953vrrwj0cxcqqqqqqqqqdv2p0ewnxm3a7uqkuuvgn9lz7yy96490mnwm99rrcg38z26j2wrs0uxukj05rn2xqjw3l9v6xt45f9sc7hqssdwnwxe28luxx43ecqellsarkwz9kq4t8vgffqkm30dzgy5qftznq3v0jxcxmcssuh6glajqvr4hq36x7amwdp68gup69uhnzv3h9cczuvpwxyarwdp5xue4zvep'

test('the prover makes proofs in a browser', { timeout: 300_000 }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'agora-prover-'))
  let browser, server
  try {
    execFileSync(go, ['build', '-ldflags=-s -w', '-o', join(dir, 'prover.wasm'), './cmd/prover'], {
      cwd: root, env: { ...process.env, GOOS: 'js', GOARCH: 'wasm' }, stdio: 'inherit',
    })
    const goroot = execFileSync(go, ['env', 'GOROOT'], { encoding: 'utf8' }).trim()
    const files = {
      '/': [here('index.html'), 'text/html'], '/worker.js': [here('worker.js'), 'text/javascript'],
      '/wasm_exec.js': [join(goroot, 'lib/wasm/wasm_exec.js'), 'text/javascript'], '/prover.wasm': [join(dir, 'prover.wasm'), 'application/wasm'],
    }
    const said = await new Promise((resolve, reject) => {
      server = createServer((request, response) => {
        if (request.url === '/result') {
          let body = ''
          request.on('data', part => (body += part)).on('end', () => resolve(JSON.parse(body)))
          return response.end()
        }
        if (request.url === '/invitation') return response.end(invitation)
        const [file, type] = files[request.url] ?? []
        response.writeHead(file ? 200 : 404, { 'content-type': type ?? 'text/plain' })
        response.end(file && readFileSync(file))
      })
      server.listen(0, '127.0.0.1', () => {
        browser = spawn(process.env.CHROMIUM ?? 'chromium', [
          '--headless', '--no-sandbox', '--disable-gpu', `--user-data-dir=${join(dir, 'profile')}`, `http://127.0.0.1:${server.address().port}/`,
        ], { stdio: 'ignore' })
        browser.on('error', reject)
      })
    })
    assert.equal(said.error, undefined)
    console.log(`loaded in ${said.load.toFixed()} ms, proofs in ${said.prove.map(ms => ms.toFixed()).join(' and ')} ms`)
    const tag = (event, name) => event.tags.find(t => t[0] === name)
    assert.equal(tag(said.first, 'pop').length, 7)
    assert.equal(tag(said.first, 'n')[1], tag(said.second, 'n')[1])
    assert.notEqual(tag(said.first, 'pop')[6], tag(said.second, 'pop')[6])
    assert.notEqual(said.first.pubkey, said.second.pubkey)
    assert.match(said.joined.group, /^32191:[0-9a-f]{64}:town$/)
    assert.equal(said.joined.relay, 'http://127.0.0.1:7447')
    assert.equal(JSON.parse(said.joined.evidence).sig.length, 128)
    assert.equal(Buffer.from(said.joined.proof, 'base64').length, 128)
    assert.equal(Buffer.from(said.joined.possession, 'base64').length, 128)
    assert.match(said.refused, /not that leaf/)
    for (const ms of said.prove) assert.ok(ms <= 60_000, `${ms} ms`) // 6 s is for a machine that does nothing else
  } finally {
    if (browser?.exitCode === null) {
      const gone = once(browser, 'exit')
      browser.kill()
      await gone
    }
    server?.closeAllConnections()
    server?.close()
    rmSync(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  }
})
