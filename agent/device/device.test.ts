import assert from 'node:assert/strict'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import { openHome } from '../../shared/home.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { findDevice, loadDevice, parseControlPlaneUrl, readCapabilities, saveDevice } from './device.ts'
import {
  findRingIntent,
  loadRingIntents,
  proposeRingIntent,
  removeRingIntent,
  type RingIntent,
  saveRingIntent,
  unreadableIntents,
  withdrawRingIntent,
} from './rings.ts'

const code =
  (wanted: string, text = /(?:)/) =>
  (error: unknown): boolean =>
    error instanceof MeshError && error.code === wanted && text.test(error.message)
const config = { networkId: 'home', name: 'laptop', controlPlaneUrl: 'http://127.0.0.1:8080' }

describe('device', () => {
  it('an empty home has no device and says how to make one', (t) => {
    const home = openHome(temporaryFolder(t))
    assert.equal(findDevice(home), undefined)
    assert.throws(() => loadDevice(home), code('notInitialised'))
  })

  it('a saved device is loaded with the same key; its key file is readable by its owner alone', (t) => {
    const home = openHome(temporaryFolder(t))
    const saved = saveDevice(home, config)
    const loaded = loadDevice(home)
    assert.deepEqual(loaded, saved)
    assert.match(loaded.deviceId, /^[0-9a-f]{64}$/)
    assert.equal(statSync(home.deviceKey).mode & 0o777, 0o600)
  })

  it('saving again changes the configuration and keeps the key', (t) => {
    const home = openHome(temporaryFolder(t))
    const first = saveDevice(home, config)
    const second = saveDevice(home, { ...config, name: 'desktop' })
    assert.equal(second.deviceId, first.deviceId)
    assert.equal(loadDevice(home).config.name, 'desktop')
  })

  it('a damaged key or configuration is named and never replaced', (t) => {
    const home = openHome(temporaryFolder(t))
    saveDevice(home, config)
    writeFileSync(home.config, '{"networkId": "home", "name": 5}')
    assert.throws(() => loadDevice(home), code('stateUnreadable', /device\.json: /))
    writeFileSync(home.deviceKey, 'rubbish')
    assert.throws(() => saveDevice(home, config), code('stateUnreadable', /device\.key: /))
    assert.equal(readFileSync(home.deviceKey, 'utf8'), 'rubbish')
  })

  it('an address of a control plane is http or https, without a slash at the end; of another machine it is https', () => {
    assert.equal(parseControlPlaneUrl('http://127.0.0.1:1/'), 'http://127.0.0.1:1')
    assert.equal(parseControlPlaneUrl('http://a:1/'), 'https://a:1')
    assert.equal(parseControlPlaneUrl('https://mesh.example/base'), 'https://mesh.example/base')
    for (const text of ['', 'a:8080', 'ftp://a', 'localhost', '/tmp'])
      assert.throws(() => parseControlPlaneUrl(text), code('usage', /--control-plane wants an address/))
  })

  it('capabilities name the machine', () => {
    const capabilities = readCapabilities(['one'])
    assert.ok(capabilities.cpuCores >= 1 && capabilities.memoryBytes > 0)
    assert.deepEqual(capabilities.backends, ['one'])
  })
})

describe('ring intents', () => {
  const intent: RingIntent = { poolId: 'ab'.repeat(32), modelId: 'tiny-story', quant: 'q8', share: 1 }

  it('there are none in an empty home', (t) => assert.deepEqual(loadRingIntents(openHome(temporaryFolder(t))), []))

  it('an intent for the same pool and model replaces the former one', (t) => {
    const home = openHome(temporaryFolder(t))
    saveRingIntent(home, intent)
    saveRingIntent(home, { ...intent, modelId: 'other', modelDir: '/models/other' })
    saveRingIntent(home, { ...intent, share: 2 })
    assert.deepEqual(
      loadRingIntents(home).map(({ modelId, share, modelDir }) => [modelId, share, modelDir]),
      [
        ['other', 1, '/models/other'],
        ['tiny-story', 2, undefined],
      ],
    )
  })

  it('a removed intent is gone, removing it again says that there was none', (t) => {
    const home = openHome(temporaryFolder(t))
    saveRingIntent(home, intent)
    assert.equal(removeRingIntent(home, 'cd'.repeat(32), 'tiny-story'), false)
    assert.equal(removeRingIntent(home, intent.poolId, 'tiny-story'), true)
    assert.equal(removeRingIntent(home, intent.poolId, 'tiny-story'), false)
    assert.deepEqual(loadRingIntents(home), [])
  })

  it('what is proposed stands beside the intent that holds until it is agreed to or withdrawn', (t) => {
    const home = openHome(temporaryFolder(t))
    const [old, fresh] = ['a'.repeat(64), 'b'.repeat(64)]
    const folderFor = (revision: string): string | undefined => findRingIntent(home, { ...intent, revision })?.modelDir
    saveRingIntent(home, { ...intent, modelDir: '/old', revision: old })
    proposeRingIntent(home, { ...intent, modelDir: '/first', revision: 'c'.repeat(64) })
    proposeRingIntent(home, { ...intent, modelDir: '/new', revision: fresh })
    assert.deepEqual([folderFor(old), folderFor(fresh), folderFor('c'.repeat(64))], ['/old', '/new', '/old'])
    assert.deepEqual(
      loadRingIntents(home).map(({ modelDir }) => modelDir),
      ['/old'],
    )
    withdrawRingIntent(home, intent)
    assert.deepEqual([folderFor(old), folderFor(fresh)], ['/old', '/old'])
    proposeRingIntent(home, { ...intent, modelDir: '/new', revision: fresh })
    saveRingIntent(home, { ...intent, modelDir: '/new', revision: fresh, proposed: true })
    assert.deepEqual(loadRingIntents(home), [{ ...intent, modelDir: '/new', revision: fresh }])
  })

  it('the first intent of a device is found while it is only proposed, and is none once withdrawn', (t) => {
    const home = openHome(temporaryFolder(t))
    proposeRingIntent(home, { ...intent, modelDir: '/new', revision: 'a'.repeat(64) })
    assert.equal(findRingIntent(home, { ...intent, revision: 'b'.repeat(64) })?.modelDir, '/new')
    withdrawRingIntent(home, intent)
    assert.equal(findRingIntent(home, { ...intent, revision: 'a'.repeat(64) }), undefined)
  })

  it('an entry that cannot be read costs itself alone, is told, and stays until its place is taken or left', (t) => {
    const home = openHome(temporaryFolder(t))
    const bad = [{ ...intent, modelId: 'broken', quant: 'q3' }, 7]
    writeFileSync(home.rings, JSON.stringify([...bad, intent]))
    assert.deepEqual(loadRingIntents(home), [intent])
    assert.equal(findRingIntent(home, { ...intent, revision: 'a'.repeat(64) })?.share, 1)
    assert.equal(unreadableIntents(home).length, 2)
    assert.match(unreadableIntents(home)[0], /quant.*broken/)
    saveRingIntent(home, { ...intent, modelId: 'other' })
    proposeRingIntent(home, { ...intent, modelId: 'third', revision: 'a'.repeat(64) })
    withdrawRingIntent(home, { ...intent, modelId: 'third' })
    assert.equal(unreadableIntents(home).length, 2)
    saveRingIntent(home, { ...intent, modelId: 'broken' })
    assert.equal(unreadableIntents(home).length, 1)
    writeFileSync(home.rings, JSON.stringify(bad))
    assert.equal(removeRingIntent(home, intent.poolId, 'broken'), true)
    assert.deepEqual(JSON.parse(readFileSync(home.rings, 'utf8')), [7])
  })

  it('a damaged file is named', (t) => {
    const home = openHome(temporaryFolder(t))
    for (const text of ['{"a":', '{}', '"x"']) {
      writeFileSync(home.rings, text)
      assert.throws(() => loadRingIntents(home), code('stateUnreadable', /rings\.json/))
    }
  })
})
