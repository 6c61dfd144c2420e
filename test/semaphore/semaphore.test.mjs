// Proofs of bin/agora (or AGORA) in the verifier of Semaphore's own JavaScript
// library, and the library's identities and groups beside ours.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Group } from '@semaphore-protocol/group'
import { Identity } from '@semaphore-protocol/identity'
import { generateProof, verifyProof } from '@semaphore-protocol/proof'

const agora = process.env.AGORA ?? fileURLToPath(new URL('../../bin/agora', import.meta.url))
const circuit = fileURLToPath(new URL('../../personhood/semaphore/circuit/semaphore-20', import.meta.url))
const dir = mkdtempSync(join(tmpdir(), 'agora-person-'))
const env = { ...process.env, AGORA_PASSPHRASE: 'a passphrase of this test' }
const members = join(dir, 'members.bin')
const people = ['ann', 'bea', 'cid', 'dov', 'eve'].map(name => ({ name, file: join(dir, `${name}.key`) }))

const run = (args, input = '') => execFileSync(agora, ['person', ...args], { env, input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'ignore'] })

/** The commitments of a members file, as JavaScript's numbers. */
function leaves() {
  const file = readFileSync(members)
  return Array.from({ length: file.length / 32 }, (_, i) => BigInt(`0x${file.subarray(32 * i, 32 * i + 32).toString('hex')}`))
}

before(() => {
  for (const p of people) {
    run(['new', '--identity', p.file])
    run(['join', '--identity', p.file, '--members', members])
  }
})
after(() => rmSync(dir, { recursive: true, force: true }))

const prove = (p, scope, message) =>
  JSON.parse(run(['prove', '--identity', p.file, '--members', members, '--scope', scope, '--message', message]))

test('an identity has the commitment that JavaScript gives it', () => {
  for (const [i, p] of people.entries()) {
    const plain = run(['export', '--plain', '--identity', p.file]).trim()
    assert.equal(Identity.import(plain).commitment, leaves()[i])
  }
})

test('a members file grows into the root that JavaScript gives it', () => {
  const said = run(['join', '--identity', people[0].file, '--members', members])
  assert.equal(BigInt(`0x${said.match(/root\s+([0-9a-f]{64})/)[1]}`), new Group(leaves()).root)
})

test('our proofs verify in JavaScript, and only for what they say', async () => {
  const high = (2n ** 256n - 1n).toString()
  for (const [p, scope, message] of [[people[0], '1', '2'], [people[4], high, '0'], [people[2], '7', high]]) {
    const proof = prove(p, scope, message)
    assert.equal(proof.merkleTreeRoot, new Group(leaves()).root.toString())
    assert.ok(await verifyProof(proof))
    for (const key of ['merkleTreeRoot', 'nullifier', 'message', 'scope'])
      assert.ok(!(await verifyProof({ ...proof, [key]: (BigInt(proof[key]) ^ 1n).toString() })), key)
  }
})

test('a nullifier is that of JavaScript\'s own proof', { timeout: 120_000 }, async () => {
  const plain = run(['export', '--plain', '--identity', people[1].file]).trim()
  const theirs = await generateProof(Identity.import(plain), new Group(leaves()), 5n, 6n, 20, {
    wasm: `${circuit}.wasm`, zkey: `${circuit}.zkey`,
  })
  const ours = prove(people[1], '6', '5')
  assert.equal(theirs.nullifier, ours.nullifier)
  assert.equal(theirs.merkleTreeRoot, ours.merkleTreeRoot)
  assert.ok(await verifyProof(theirs))
})

test('the proof in an event is a Semaphore proof', async () => {
  const group = `32191:${'a'.repeat(64)}:town`
  const like = { kind: 7, content: '+', tags: [['e', 'b'.repeat(64)]] }
  const file = join(dir, 'like.json')
  writeFileSync(file, JSON.stringify(like))
  const event = JSON.parse(run(['prove', '--identity', people[3].file, '--members', members, '--group', group, file]))
  const pop = event.tags.find(t => t[0] === 'pop')
  const n = event.tags.find(t => t[0] === 'n')
  assert.deepEqual(pop.slice(0, 3), ['pop', 'semaphore4', group])
  assert.equal(BigInt(`0x${pop[3]}`), new Group(leaves()).root)
  assert.equal(pop[4], '20')
  assert.equal(pop[5], n[1])
  assert.equal(Buffer.from(pop[6], 'base64').length, 128)
})
