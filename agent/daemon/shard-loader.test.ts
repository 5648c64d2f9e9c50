/** The loader of shards with real compute processes: what fails, and what is given up, leaves nothing behind. */
import assert from 'node:assert/strict'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { MeshError } from '../../shared/errors.ts'
import { type Home, openHome, readStateJson, writeStateJson } from '../../shared/home.ts'
import { silentLogger } from '../../shared/log.ts'
import { planShards } from '../../shared/plan/shard-plan.ts'
import type { RingEpoch } from '../../shared/schema/ring.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { childrenOf } from '../../test/support/leftovers.ts'
import { eventually } from '../../test/support/processes.ts'
import { removeRingIntent, saveRingIntent } from '../device/rings.ts'
import { openModel } from '../model/model-folder.ts'
import { TensorFile } from '../model/safetensors.ts'
import { RingTrial } from './ring-trial.ts'
import { ThreadGovernor } from './thread-governor.ts'
import { ShardLoader, type ShardLoaderOptions } from './shard-loader.ts'

const bundled = fileURLToPath(new URL('../../models', import.meta.url))
const poolId = 'ab'.repeat(32)
const modelId = 'owner/copy'

/** A MiB of zeros in the middle. */
const withHole = (bytes: Buffer): Buffer => {
  const half = Math.floor(bytes.length / 2)
  return Buffer.concat([bytes.subarray(0, half), Buffer.alloc(2 ** 20), bytes.subarray(half + 2 ** 20)])
}

interface Stage {
  readonly home: Home
  readonly loader: ShardLoader
  readonly folder: string
  readonly shards: string
  readonly hashes: string
  epoch(change?: Partial<RingEpoch>): RingEpoch
  load(ring?: RingEpoch): ReturnType<ShardLoader['load']>
}

const loaderOptions = (home: Home): ShardLoaderOptions => ({
  home,
  bundledModels: bundled,
  backend: 'auto',
  governor: new ThreadGovernor({ threads: 1, logger: silentLogger() }),
  spinMs: 0,
  logger: silentLogger(),
  admit: () => {},
})

/** A copy of the bundled model that this device wants to serve alone. */
const createStage = async (t: TestContext, change: Partial<ShardLoaderOptions> = {}): Promise<Stage> => {
  const root = temporaryFolder(t)
  const home = openHome(join(root, 'home'))
  const folder = join(root, 'copy')
  cpSync(join(bundled, 'tiny-story'), folder, { recursive: true })
  saveRingIntent(home, { poolId, modelId, modelDir: folder, quant: 'q8', share: 1 })
  const loader = new ShardLoader({ ...loaderOptions(home), ...change })
  t.after(() => loader.close())
  const model = openModel(folder, modelId)
  const manifest = { ...model.about, revision: (await model.identify()).revision }
  model.close()
  const [ranges] = planShards(manifest.shape, [1])
  const member = { deviceId: 'cd'.repeat(32), name: 'Laptop', peerId: 'p', addresses: [], rank: 0, share: 1, ranges }
  const epoch: Stage['epoch'] = (other) => ({
    ringId: 'ring_1',
    poolId,
    epoch: 1,
    model: manifest,
    quant: 'q8',
    members: [member],
    ...other,
  })
  return {
    home,
    loader,
    folder,
    shards: home.shards,
    hashes: home.hashes,
    epoch,
    load: (ring = epoch()) => loader.load(ring, ring.members[0], () => {}),
  }
}

/** Files of that folder that this process has open. */
const openIn = (folder: string): string[] =>
  readdirSync('/proc/self/fd').flatMap((handle) => {
    try {
      const file = readlinkSync(`/proc/self/fd/${handle}`)
      return file.startsWith(folder) ? [file] : []
    } catch {
      return []
    }
  })

const computing = (): number[] => childrenOf(process.pid, 'process-main')

describe('shard loader', { skip: process.platform !== 'linux' && 'only Linux tells what is open' }, () => {
  it('a folder whose tokenizer is damaged is refused before anything is cut', async (t) => {
    const { folder, shards, load } = await createStage(t)
    // the same bytes as for the ring, so that nothing but the tokenizer itself is in the way
    writeFileSync(join(folder, 'tokenizer_config.json'), '{"chat_template":')
    await assert.rejects(load(), { code: 'modelConfigInvalid' })
    assert.ok(!existsSync(shards))
    assert.deepEqual([openIn(folder), computing()], [[], []])
  })

  it('ten loads that fail leave no open file and no compute process', async (t) => {
    const { folder, shards, epoch, load } = await createStage(t)
    const other = epoch({ model: { ...epoch().model, revision: 'e'.repeat(64) } })
    for (let turn = 0; turn < 5; turn++) await assert.rejects(load(other), { code: 'modelMismatch' })
    writeFileSync(shards, 'no folder')
    for (let turn = 0; turn < 5; turn++) await assert.rejects(load(), { code: 'stateUnwritable' })
    assert.deepEqual([openIn(folder), computing()], [[], []])
  })

  it('other files than those of the ring are refused before anything is cut, and good ones put back serve again', async (t) => {
    const { folder, shards, load } = await createStage(t)
    const file = join(folder, 'model.safetensors')
    const good = readFileSync(file)
    writeFileSync(file, withHole(good))
    await assert.rejects(load(), { code: 'modelMismatch' })
    assert.ok(!existsSync(shards))
    writeFileSync(file, good)
    await load()
    assert.equal(readdirSync(shards).length, 1)
  })

  it('bytes that changed under the same file are found at the next load: while cutting, and in the embedding', async (t) => {
    const { loader, folder, shards, epoch, load, hashes } = await createStage(t)
    const file = join(folder, 'model.safetensors')
    const rests = (): Promise<unknown> =>
      eventually(10_000, 'the file rests', () => Date.now() - statSync(file).ctimeMs > 2000 || undefined)
    await rests()
    await load()
    await loader.unload('ring_1')
    /** As a failing disk does it: what is remembered of the file still seems to hold. */
    const change = (bytes: Buffer): void => {
      const [name] = readdirSync(hashes)
      const known = readStateJson(join(hashes, name)) as object
      writeFileSync(file, bytes)
      const changed = new TensorFile(file)
      writeStateJson(join(hashes, name), { ...known, stamp: changed.stamp })
      changed.close()
    }
    const good = readFileSync(file)
    const model = openModel(folder, modelId)
    const { start } = model.tensor('model.embed_tokens.weight')
    model.close()
    const embedding = Buffer.from(good)
    embedding[start + 4000] ^= 1
    change(embedding)
    // the shard itself is there and whole
    await assert.rejects(load(), { code: 'weightsChanged', message: /embed_tokens/ })
    await assert.rejects(load(), { code: 'modelMismatch' }) // what was remembered is forgotten
    writeFileSync(file, good)
    await rests()
    await load()
    change(withHole(good))
    await assert.rejects(load(epoch({ quant: 'q4' })), { code: 'weightsChanged' })
    assert.equal(readdirSync(shards).length, 1)
  })

  it('an epoch that comes while another is loaded is told how that goes; one that was not begun is passed over', async (t) => {
    const { loader, epoch, shards } = await createStage(t)
    const told: Record<string, Set<string>> = { first: new Set(), second: new Set(), third: new Set() }
    const load = (name: string, ring: RingEpoch): ReturnType<ShardLoader['load']> =>
      loader.load(ring, ring.members[0], ({ phase }) => told[name].add(phase))
    const first = load('first', epoch())
    await eventually(10_000, 'it has begun', () => told.first.size > 0 || undefined)
    const second = load('second', epoch({ quant: 'f32' }))
    const third = load('third', epoch({ quant: 'q4' }))
    await first
    assert.ok(told.third.has('quantising') && told.second.size === 0)
    await assert.rejects(second, /another epoch/)
    await third
    assert.equal(readdirSync(shards).length, 2)
  })

  it('a device that is tried loads, computes a token and reaches the others; what is in the way is told', async (t) => {
    const { loader, folder, epoch } = await createStage(t)
    const ring = epoch({ members: [epoch().members[0], { ...epoch().members[0], rank: 1, deviceId: 'ef'.repeat(32) }] })
    const run = async (reach: () => Promise<void>): Promise<RingTrial> => {
      const trial = new RingTrial({ ring, deviceId: ring.members[0].deviceId, loader, reach, onChange: () => {} })
      await trial.run()
      return trial
    }
    let reached = 0
    const good = await run(async () => {
      reached++
    })
    assert.deepEqual([good.view, reached], [{ state: 'ready', progress: 1 }, 1])
    const cut = await run(() => Promise.reject(new MeshError('peerUnreachable', { peer: 'x', problem: 'y' })))
    assert.deepEqual([cut.view.state, cut.view.error?.code], ['failed', 'peerUnreachable'])
    await loader.unload('ring_1')
    writeFileSync(join(folder, 'tokenizer_config.json'), '{')
    const broken = await run(async () => {})
    assert.deepEqual([broken.view.state, broken.view.error?.code], ['failed', 'modelConfigInvalid'])
    assert.deepEqual(computing(), [])
  })

  it('leaving the ring frees what was loaded; loading again works', async (t) => {
    const { loader, folder, load } = await createStage(t)
    const { backend } = await load()
    assert.equal(openIn(folder).length, 1)
    assert.equal(computing().length, backend.name === 'ggml' ? 1 : 0)
    await loader.unload('ring_1')
    assert.deepEqual([openIn(folder), computing()], [[], []])
    await load()
    assert.equal(openIn(folder).length, 1)
  })

  it('shards stay within the bound: what no ring uses goes, what one uses stays', async (t) => {
    const { loader, folder, shards, epoch, load, home } = await createStage(t, { maxBytes: 9e6 })
    const stored = (): string[] => readdirSync(shards).toSorted()
    const first = await load() // 7 MB
    await loader.unload('ring_1')
    // another shard of the same ring, of 4 MB: the first is then used no more
    const second = await load(epoch({ quant: 'q4' }))
    assert.deepEqual(stored(), [second.shard.hash])
    // the first once more, of another ring: both are too much, and both are needed
    const otherPool = 'ef'.repeat(32)
    saveRingIntent(home, { poolId: otherPool, modelId, modelDir: folder, quant: 'q8', share: 1 })
    const third = await load(epoch({ ringId: 'ring_2', poolId: otherPool }))
    assert.equal(third.shard.hash, first.shard.hash)
    loader.tidy()
    assert.deepEqual(stored(), [second.shard.hash, third.shard.hash].toSorted())
    removeRingIntent(home, otherPool, modelId)
    loader.tidy()
    assert.equal(stored().length, 2) // it is still loaded
    await loader.unload('ring_2')
    loader.tidy()
    assert.deepEqual(stored(), [second.shard.hash])
    await loader.unload('ring_1')
    mkdirSync(join(shards, `${'1'.repeat(64)}.${2 ** 22 + 1}.01234567.tmp`)) // of a process that cannot be there
    const strict = new ShardLoader({ ...loaderOptions(home), maxBytes: 0 })
    strict.tidy()
    assert.deepEqual(stored(), [second.shard.hash]) // the next start needs it
    removeRingIntent(home, poolId, modelId)
    strict.tidy()
    assert.deepEqual(stored(), [])
  })

  for (const ending of ['close', 'unload'] as const) {
    it(`${ending} ends loads at any moment, and what waits behind them`, async (t) => {
      for (let turn = 0; turn < 4; turn++) {
        const { loader, folder, epoch, load } = await createStage(t)
        const results = Promise.allSettled([load(), load(epoch({ quant: 'f32' })), load(epoch({ ringId: 'ring_2' }))])
        // later in each turn: the threads run, the compute process starts
        if (turn > 0)
          await eventually(
            20_000,
            'it has begun',
            () =>
              (turn === 1
                ? openIn(folder).length > 0
                : turn === 2
                  ? computing().length > 0
                  : openIn(folder).length > 1) || undefined,
          )
        if (ending === 'close') await loader.close()
        else await Promise.all([loader.unload('ring_1'), loader.unload('ring_2')])
        assert.deepEqual([openIn(folder), computing()], [[], []])
        assert.ok((await results).some(({ status }) => status === 'rejected'))
        if (ending === 'close') await assert.rejects(load(), /given up/)
      }
    })
  }
})
