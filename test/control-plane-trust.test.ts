/** How a device comes to know its control plane by its key, and what it does when another one answers. */
import assert from 'node:assert/strict'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { quickSettings, startPlane } from '../control-plane/test/plane.ts'
import { openHome } from '../shared/home.ts'
import { newControlPlaneKey, saveControlPlaneKey } from '../shared/identity/control-plane-key.ts'
import { decodeInvite, encodeInvite } from '../shared/identity/invite.ts'
import type { ControlPlaneId } from '../shared/ids.ts'
import { createDeviceClient, firstContactText } from '../agent/device/control-plane.ts'
import { findDevice, loadDevice, saveDevice } from '../agent/device/device.ts'
import { temporaryFolder } from './support/homes.ts'
import { meshHere } from './support/processes.ts'

const tlsPlane = async (t: TestContext): Promise<{ readonly url: string; readonly key: ControlPlaneId }> => {
  const { url, key } = await startPlane(t, undefined, { ...quickSettings, port: {} })
  return { url: url.replace('http:', 'https:'), key }
}

const init = (home: string, ...more: string[]): ReturnType<typeof meshHere> =>
  meshHere(['init', '--network-id', 'home', '--name', 'Laptop', ...more], home)
const ok = async (result: ReturnType<typeof meshHere>): Promise<string> => {
  const { code, stdout, stderr } = await result
  assert.equal(code, 0, stderr)
  return stdout
}
const knownKey = (home: string): string | undefined => findDevice(openHome(home))?.config.controlPlaneKey

test('trust: the first control plane is kept by its key, and another one at its address is refused by name', async (t) => {
  const [first, second] = [await tlsPlane(t), await tlsPlane(t)]
  const home = temporaryFolder(t)
  await ok(init(home, '--control-plane', first.url))
  assert.equal(knownKey(home), first.key)
  assert.equal(await ok(meshHere(['control-plane-key'], home)), `${first.key}\n`)
  // the same address, as far as this device knows: somebody else answers there
  for (const url of [second.url, second.url.replace('https:', 'http:')]) {
    saveDevice(openHome(home), { ...loadDevice(openHome(home)).config, controlPlaneUrl: url })
    const { code, stderr } = await meshHere(['pool-create', '--name', 'home'], home)
    assert.equal(code, 7)
    assert.match(
      stderr,
      url.startsWith('https:')
        ? new RegExp(
            `^error: the control plane at ${url} is not the one that this device knows: its key begins with ${second.key.slice(0, 8)}, the known one with ${first.key.slice(0, 8)}; nothing was sent to it\nhint: somebody may be in between`,
          )
        : new RegExp(
            `^error: the request was signed for the control plane ${first.key.slice(0, 8)}, and this one is ${second.key.slice(0, 8)}\nhint: mesh control-plane-key`,
          ),
    )
    assert.equal(knownKey(home), first.key)
  }
  // told so, the device takes it over; not without being told
  const asked = await init(home, '--control-plane-key', second.key)
  assert.deepEqual(
    [asked.code, asked.stderr.includes(`by the key ${second.key.slice(0, 8)} (now ${first.key.slice(0, 8)})`)],
    [3, true],
  )
  await ok(init(home, '--control-plane-key', second.key, '--yes'))
  assert.equal(knownKey(home), second.key)
})

test('trust: a key that was given beforehand is held to at the first contact', async (t) => {
  const plane = await tlsPlane(t)
  const home = temporaryFolder(t)
  const wrong = newControlPlaneKey().id
  const refused = await init(home, '--control-plane', plane.url, '--control-plane-key', wrong)
  assert.equal(refused.code, 7)
  await ok(init(home, '--control-plane-key', plane.key, '--yes'))
  const bad = await init(home, '--control-plane-key', plane.key.slice(1))
  assert.match(bad.stderr, /--control-plane-key wants 64 hex digits/)
})

test('trust: a home of before goes on: its address is spoken to by TLS, and whoever answers is known from then on', async (t) => {
  const plane = await tlsPlane(t)
  const home = temporaryFolder(t)
  await ok(init(home, '--control-plane', plane.url))
  const { controlPlaneKey: _, ...old } = JSON.parse(readFileSync(openHome(home).config, 'utf8')) as Record<
    string,
    string
  >
  writeFileSync(openHome(home).config, JSON.stringify(old))
  assert.equal(knownKey(home), undefined)
  await ok(meshHere(['pool-create', '--name', 'home'], home))
  assert.equal(knownKey(home), plane.key)
  writeFileSync(openHome(home).config, JSON.stringify({ ...old, controlPlaneUrl: 'http://192.0.2.99:8080' }))
  assert.equal(findDevice(openHome(home))?.config.controlPlaneUrl, 'https://192.0.2.99:8080')
})

test('trust: a first contact with another machine is told with the key; on this one it is silent', async (t) => {
  const plane = await tlsPlane(t)
  const home = openHome(temporaryFolder(t))
  const device = saveDevice(home, { networkId: 'home', name: 'Laptop', controlPlaneUrl: plane.url })
  const told: string[] = []
  const client = createDeviceClient({
    home,
    device,
    onFirstContact: (key, url) => told.push(firstContactText(key, url)),
  })
  assert.equal(await client.controlPlane(), plane.key)
  assert.equal(told.length, 0)
  const elsewhere = createDeviceClient({
    home: openHome(temporaryFolder(t)),
    device: { ...device, config: { ...device.config, controlPlaneUrl: 'http://plane.invalid:1' } },
    fetch: () => Promise.resolve(Response.json({ controlPlaneKey: plane.key })),
    onFirstContact: (key, url) => told.push(firstContactText(key, url)),
  })
  assert.equal(await elsewhere.controlPlane(), plane.key)
  assert.match(
    told.join(),
    new RegExp(
      `^first contact with the control plane at http://plane.invalid:1: .*${plane.key}; mesh control-plane-key`,
    ),
  )
})

test('trust: an invite tells the key, and whoever uses it trusts no other control plane', async (t) => {
  const [plane, other] = [await tlsPlane(t), await tlsPlane(t)]
  const [home, guest] = [temporaryFolder(t), temporaryFolder(t)]
  await ok(init(home, '--control-plane', plane.url))
  await ok(meshHere(['pool-create', '--name', 'home'], home))
  const invite = decodeInvite(await ok(meshHere(['pool-invite', '--control-plane', plane.url], home)))
  assert.deepEqual([invite.controlPlaneKey, invite.urls], [plane.key, [plane.url]])
  const forged = encodeInvite({ ...invite, urls: [other.url, other.url.replace('https:', 'http:')] })
  const { code, stderr } = await meshHere(['join', forged, '--no-start', '--wait', '0s'], guest)
  assert.deepEqual([code, stderr.includes('is not the one that this device knows')], [7, true])
  assert.equal(findDevice(openHome(guest)), undefined)
  const joining = await meshHere(
    ['join', encodeInvite({ ...invite, urls: [other.url, plane.url] }), '--no-start', '--wait', '0s'],
    guest,
  )
  assert.match(joining.stderr, /asked to join pool/) // at the right one, where no agent answers
  assert.equal(knownKey(guest), plane.key)
})

test('trust: the key moves in a file with a passphrase, and replaces no other one without a word', async (t) => {
  const [from, to, root] = [temporaryFolder(t), temporaryFolder(t), temporaryFolder(t)]
  const [own, other] = [newControlPlaneKey(), newControlPlaneKey()]
  saveControlPlaneKey(openHome(from).controlPlane.key, own)
  const [file, passphrase, wrong] = ['key.txt', 'passphrase', 'wrong'].map((name) => join(root, name))
  writeFileSync(passphrase, 'correct horse battery\n')
  writeFileSync(wrong, 'correct horse batterz\n')
  await ok(meshHere(['control-plane-export-key', '--file', file, '--passphrase-file', passphrase], from))
  assert.equal(statSync(file).mode & 0o777, 0o600)
  const bring = (passphraseFile: string, ...more: string[]): ReturnType<typeof meshHere> =>
    meshHere(['control-plane-import-key', '--file', file, '--passphrase-file', passphraseFile, ...more], to)
  const keyOf = (): Promise<string> => ok(meshHere(['control-plane-key'], to))
  assert.equal((await bring(wrong)).code, 7)
  await ok(bring(passphrase))
  assert.equal(await keyOf(), `${own.id}\n`)
  await ok(bring(passphrase)) // once more is no harm
  saveControlPlaneKey(openHome(to).controlPlane.key, other)
  const kept = await bring(passphrase)
  assert.deepEqual([kept.code, kept.stderr.includes(`has the key ${other.id.slice(0, 8)} already`)], [3, true])
  assert.equal(await keyOf(), `${other.id}\n`)
  await ok(bring(passphrase, '--yes'))
  assert.equal(await keyOf(), `${own.id}\n`)
  writeFileSync(openHome(to).controlPlane.key, 'damaged')
  assert.equal((await meshHere(['control-plane-key'], to)).code, 3)
  await ok(bring(passphrase)) // that is what a copy is for
  assert.equal(await keyOf(), `${own.id}\n`)
  const missing = await meshHere(
    ['control-plane-export-key', '--file', file, '--passphrase-file', passphrase],
    temporaryFolder(t),
  )
  assert.match(missing.stderr, /no control plane was started from .*: it has no key yet/)
})
