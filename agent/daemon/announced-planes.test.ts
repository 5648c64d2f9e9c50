/** What members can make a device dial, and what they cannot. */
import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { provenKey } from '../../shared/api/pinned-tls.ts'
import { newControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { silentLogger } from '../../shared/log.ts'
import { AnnouncedPlanes, type Announcement } from './announced-planes.ts'

const [key, other] = [newControlPlaneKey().id, newControlPlaneKey().id]

interface World {
  readonly planes: AnnouncedPlanes
  /** Addresses that were dialled, in order. */
  readonly dialled: string[]
  readonly resolved: string[]
  nowMs: number
}

interface Place {
  readonly answers?: typeof key
  readonly names?: Readonly<Record<string, readonly string[]>>
  readonly isPrivatePool?: boolean
}

/** Where `https://1.2.3.4:8080` is the control plane, and everything else is closed or somebody else's. */
const worldWith = ({ names = {}, isPrivatePool = false, answers = key }: Place = {}): World => {
  const world: World = {
    dialled: [],
    resolved: [],
    nowMs: 1e9,
    planes: new AnnouncedPlanes({
      now: () => world.nowMs,
      logger: silentLogger(),
      isPrivatePool: () => isPrivatePool,
      resolve: (host) => {
        world.resolved.push(host)
        return host in names ? Promise.resolve(names[host]) : Promise.reject(new Error('ENOTFOUND'))
      },
      provenKey: (url) => {
        world.dialled.push(url)
        if (url === 'https://1.2.3.4:8080') return Promise.resolve(answers)
        return url.startsWith('https://5.') ? Promise.resolve(other) : Promise.reject(new Error('ECONNREFUSED'))
      },
    }),
  }
  return world
}

const from = (name: string, ...urls: string[]): Announcement => ({ from: name, isNear: false, urls })

test('announced: who proves the key is the one, whoever told of it; another key is not', async () => {
  const world = worldWith({ names: { 'plane.example': ['1.2.3.4'] } })
  assert.equal(
    await world.planes.find(key, [from('a', 'https://5.5.5.5:1', 'https://1.2.3.4:8080')], []),
    'https://1.2.3.4:8080',
  )
  assert.equal(await world.planes.find(key, [from('a', 'https://plane.example:8080')], []), 'https://1.2.3.4:8080')
  assert.equal(await world.planes.find(key, [], ['https://1.2.3.4:8080']), 'https://1.2.3.4:8080')
  assert.equal(await worldWith({ answers: other }).planes.find(key, [from('a', 'https://1.2.3.4:8080')], []), undefined)
})

test('announced: this machine, its link, plain HTTP and names that lead there are not dialled', async () => {
  const world = worldWith({
    isPrivatePool: true,
    names: { 'evil.example': ['127.0.0.1'], 'half.example': ['1.2.3.4', '169.254.169.254'] },
  })
  const urls = [
    'https://127.0.0.1:8080',
    'https://localhost:8080',
    'https://[::1]:8080',
    'http://192.168.1.20:8080',
    'http://1.2.3.4:8080',
    'https://evil.example',
    'https://half.example',
    'https://169.254.169.254',
  ]
  for (const url of urls)
    assert.equal(await world.planes.find(key, [{ from: 'a', isNear: true, urls: [url] }], [url]), undefined, url)
  assert.deepEqual(world.dialled, [])
})

test('announced: private networks are dialled by pools that are on one, or when the member is', async () => {
  const inside = 'https://192.168.1.20:8080'
  const dialledIn = async (
    place: Place,
    announced: Announcement,
    remembered: readonly string[] = [],
  ): Promise<readonly string[]> => {
    const world = worldWith(place)
    await world.planes.find(key, [announced], remembered)
    return world.dialled
  }
  assert.deepEqual(await dialledIn({}, from('a', inside)), [])
  assert.deepEqual(await dialledIn({ isPrivatePool: true }, from('a', inside)), [inside])
  assert.deepEqual(await dialledIn({}, { from: 'a', isNear: true, urls: [inside] }), [inside])
  assert.deepEqual(await dialledIn({}, from('a'), [inside]), [inside], 'the key was proven there once')
  // one who is near may say what one who is far may not
  const world = worldWith()
  await world.planes.find(key, [from('far', inside), { from: 'near', isNear: true, urls: [inside] }], [])
  assert.deepEqual(world.dialled, [inside])
})

const many = (name: string, count: number): Announcement =>
  from(name, ...Array.from({ length: count }, (_, index) => `https://9.${name.charCodeAt(0)}.0.${index}:1`))

test('announced: one search, one member and all together cause so many tries and no more; nobody crowds the others out', async () => {
  const world = worldWith()
  await world.planes.find(key, [many('a', 100), from('b', 'https://9.9.9.9:1')], [])
  assert.equal(world.dialled.length, 16)
  assert.ok(world.dialled.includes('https://9.9.9.9:1'))
  const ofA = (): number => world.dialled.filter((url) => url.startsWith('https://9.97.')).length
  for (let round = 0; round < 5; round++) {
    world.nowMs += 1000
    await world.planes.find(key, [many('a', 100)], [])
  }
  assert.equal(ofA(), 16, 'a minute long')
  for (const name of 'cdefghij') await world.planes.find(key, [many(name, 100)], [])
  assert.equal(world.dialled.length, 64)
  assert.equal(await world.planes.find(key, [from('k', 'https://1.2.3.4:8080')], []), undefined)
  assert.equal(
    await world.planes.find(key, [], ['https://1.2.3.4:8080']),
    'https://1.2.3.4:8080',
    'what this device found itself is no matter of theirs',
  )
  world.nowMs += 60_000
  assert.equal(await world.planes.find(key, [from('k', 'https://1.2.3.4:8080')], []), 'https://1.2.3.4:8080')
})

test('announced: an address that was not the one is left alone, longer each time, and tried again when the network changed', async () => {
  const world = worldWith()
  const closed = 'https://9.9.9.9:1'
  const tries = async (waitMs: number): Promise<number> => {
    const before = world.dialled.length
    world.nowMs += waitMs
    await world.planes.find(key, [from('a', closed)], [])
    return world.dialled.length - before
  }
  assert.deepEqual(
    [await tries(0), await tries(999), await tries(1), await tries(1999), await tries(1), await tries(3000)],
    [1, 0, 1, 0, 1, 0],
  )
  world.planes.forget()
  assert.equal(await tries(0), 1)
  for (let count = 0; count < 5; count++) await tries(15_000)
  assert.deepEqual([await tries(14_999), await tries(1)], [0, 1], 'never longer than this')
})

test(
  'announced: a name that nobody answers for holds up no other, and is asked for once at a time',
  { timeout: 300_000 },
  async () => {
    let asked = 0
    const planes = new AnnouncedPlanes({
      now: Date.now,
      logger: silentLogger(),
      isPrivatePool: () => false,
      provenKey: () => Promise.resolve(key),
      resolve: () => {
        asked++
        return new Promise(() => {})
      },
    })
    assert.equal(
      await planes.find(
        key,
        [from('a', 'https://slow.example', 'https://slower.example', 'https://slowest.example', 'https://1.2.3.4')],
        [],
      ),
      'https://1.2.3.4',
    )
    assert.equal(asked, 1)
  },
)

test(
  'announced: where a private address may be tried, it gets the opening of a TLS handshake and not a byte more',
  { timeout: 300_000 },
  async (t) => {
    const heard: Buffer[] = []
    const recorder = createServer((socket) => {
      socket.on('error', () => undefined)
      socket.on('data', (data) => heard.push(data))
    })
    t.after(() => recorder.close())
    await new Promise<void>((resolve) => recorder.listen(0, '127.0.0.1', resolve))
    const address = recorder.address()
    assert.ok(typeof address === 'object' && address !== null)
    const planes = new AnnouncedPlanes({
      now: Date.now,
      logger: silentLogger(),
      isPrivatePool: () => true,
      // a machine of the network of these tests: what stands there records
      provenKey: (url, signal) => provenKey(url.replace('10.9.9.9', '127.0.0.1'), signal),
    })
    const announced = (scheme: string): Announcement => ({
      from: 'a',
      isNear: true,
      urls: [`${scheme}://10.9.9.9:${address.port}`],
    })
    assert.equal(await planes.find(key, [announced('http')], []), undefined)
    assert.equal(heard.length, 0)
    assert.equal(await planes.find(key, [announced('https')], []), undefined)
    const bytes = Buffer.concat(heard)
    // one record, a handshake, a ClientHello, and nothing behind it (RFC 8446, 5.1)
    assert.deepEqual([bytes[0], bytes[5], bytes.length], [0x16, 1, 5 + bytes.readUInt16BE(3)])
    assert.doesNotMatch(bytes.toString('latin1'), /HTTP\/1\.1\r|GET |10\.9\.9\.9|mesh-/)
  },
)
