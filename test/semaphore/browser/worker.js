// Makes two proofs in a worker and says how long each took, in milliseconds.
importScripts('/wasm_exec.js')
const bytes = hex => Uint8Array.from(hex.match(/../g), x => parseInt(x, 16))

async function work() {
  const go = new Go()
  const began = performance.now()
  const { instance } = await WebAssembly.instantiateStreaming(fetch('/prover.wasm'), go.importObject)
  go.run(instance)
  const me = await agoraPerson.create()
  const members = new Uint8Array(96)
  members.set(bytes(me.commitment))
  members[63] = 5
  members[95] = 7
  const ask = { identity: me.identity, group: `32191:${'a'.repeat(64)}:town`, members, event: { kind: 7, content: '+', tags: [['e', 'b'.repeat(64)]] } }
  const loaded = performance.now()
  const first = await agoraPerson.act(ask)
  const once = performance.now()
  const second = await agoraPerson.act(ask)
  const twice = performance.now()
  const stranger = (await agoraPerson.create()).identity
  const refused = await agoraPerson.act({ ...ask, identity: stranger }).then(() => 'a proof', e => e.message)
  const joined = await agoraPerson.join({ identity: me.identity, invitation: await (await fetch('/invitation')).text() })
  return { joined, load: loaded - began, prove: [once - loaded, twice - once], first, second, refused }
}

work().then(postMessage, e => postMessage({ error: String(e) }))
