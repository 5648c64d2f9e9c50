/** `mesh join-ring` against a real control plane: what is refused leaves the device as it was. No agent runs. */
import assert from 'node:assert/strict'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { listPools } from '../agent/device/pools.ts'
import { loadRingIntents } from '../agent/device/rings.ts'
import { readConfig } from '../agent/model/config.ts'
import { writeRandomModel } from '../agent/model/random-model.ts'
import { startPlane, TestDevice } from '../control-plane/test/plane.ts'
import { openHome } from '../shared/home.ts'
import type { KeyPair } from '../shared/identity/keys.ts'
import { issueCertificate } from '../shared/identity/pool-certificate.ts'
import type { Printed } from '../shared/printed.ts'
import type { ModelShape } from '../shared/schema/model.ts'
import type { RingView } from '../shared/schema/ring.ts'
import { temporaryFolder } from './support/homes.ts'
import { mesh, meshHere } from './support/processes.ts'

const bundled = fileURLToPath(new URL('../models/tiny-story', import.meta.url))
const shape = { layers: 1, hidden: 64, heads: 2, kvHeads: 1, headDim: 32, ffn: 96, vocab: 300, context: 64 }

test('join-ring', async (t) => {
  const root = temporaryFolder(t)
  const home = join(root, 'home')
  const { url } = await startPlane(t, root)
  await mesh(['init', '--network-id', 'home', '--name', 'Laptop', '--control-plane', url], { home })
  await mesh(['pool-create', '--name', 'home'], { home })

  const intents = (): string => (existsSync(openHome(home).rings) ? readFileSync(openHome(home).rings, 'utf8') : 'none')
  const joined = async (...args: string[]): Promise<Printed<RingView>> =>
    JSON.parse(await mesh(['join-ring', ...args, '--json'], { home })) as Printed<RingView>
  /** Refused, and the intents of this device are what they were. */
  const refused = async (args: readonly string[], code: number, problem: RegExp): Promise<void> => {
    const kept = intents()
    const result = await meshHere(['join-ring', ...args], home)
    assert.equal(result.code, code, result.stderr)
    assert.match(result.stderr, problem)
    assert.match(result.stderr, /^hint: /m)
    assert.equal(intents(), kept)
  }
  const randomModel = (folder: string, seed: number): string => {
    writeRandomModel(folder, { shape, tied: false, dtype: 'BF16', seed })
    return folder
  }
  /** As a device says it that has files in BF16. */
  const fileShape = { ...shape, fileBits: { kvHeads: 16, ffn: 16, head: 16 } }
  /** Another member of the pool takes part in a ring of ours. */
  const otherJoins = async (ring: Printed<RingView>, ringShape: ModelShape = fileShape): Promise<void> => {
    const [pool] = listPools(openHome(home))
    const other = new TestDevice('Desktop')
    await other.register(url)
    other.certificates.set(
      pool.poolId,
      issueCertificate(pool.rootKey as KeyPair, { deviceId: other.deviceId, role: 'member' }, Date.now()),
    )
    const model = { modelId: ring.model_id, revision: ring.revision, shape: ringShape, weightBytes: 1000 }
    await other
      .client(url)
      .call('joinRing', { params: { poolId: pool.poolId }, body: { model, quant: ring.quant, share: 1 } })
  }

  await t.test('takes the name of the folder, and owner/name out of a cache of the Hugging Face tools', async () => {
    assert.equal((await joined('--model-dir', randomModel(join(root, 'Own-1B'), 1))).model_id, 'Own-1B')
    const cached = join(root, 'hub', 'models--meta-llama--Llama-3.2-1B', 'snapshots', '0'.repeat(40))
    assert.equal((await joined('--model-dir', randomModel(cached, 2))).model_id, 'meta-llama/Llama-3.2-1B')
    assert.equal((await joined('--model-dir', cached, '--model-id', 'mine:latest')).model_id, 'mine:latest')
    await refused(
      ['--model-dir', randomModel(join(root, 'my model'), 3)],
      2,
      /folder "my model" cannot be the name of a model: add --model-id/,
    )
  })

  await t.test('ids of hubs are found under MESHNET_HOME/models, listed, left and asked for', async () => {
    randomModel(join(openHome(home).models, 'owner', 'name'), 4)
    assert.equal((await joined('--model-id', 'owner/name')).model_id, 'owner/name')
    assert.match(await mesh(['ring-status'], { home }), /^owner\/name q8/m)
    const asked = await meshHere(['inference', '--model-id', 'nobody/serves:this', '--prompt', 'x'], home)
    assert.match(asked.stderr, /no device serves nobody\/serves:this/)
    assert.match(await mesh(['leave-ring', '--model-id', 'owner/name'], { home }), /left the ring for owner\/name/)
    assert.ok(!intents().includes('owner/name'))
  })

  await t.test('what is no id is refused at once, wherever one is given', async () => {
    for (const id of ['../x', '/etc', 'a//b', 'a b', '.hidden', 'a/../b'])
      await refused(['--model-id', id], 2, /--model-id wants a name such as/)
    assert.equal((await meshHere(['inference', '--model-id', '../x', '--prompt', 'x'], home)).code, 2)
  })

  await t.test('a folder is looked at whole before anybody is asked', async () => {
    const folder = join(root, 'damaged')
    cpSync(bundled, folder, { recursive: true })
    writeFileSync(join(folder, 'tokenizer.json'), readFileSync(join(bundled, 'tokenizer.json')).subarray(0, 5000))
    await refused(['--model-dir', folder], 5, /tokenizer\.json/)
    rmSync(join(folder, 'tokenizer.json'))
    await refused(['--model-dir', folder], 5, /tokenizer\.json is missing/)
    assert.ok(!(await mesh(['ring-status'], { home })).includes('damaged'))
  })

  await t.test(
    'a quantisation or files other than those of the ring are refused, and the good intent stays',
    async () => {
      const good = randomModel(join(root, 'shared'), 5)
      await otherJoins(await joined('--model-dir', good))
      await refused(['--model-dir', good, '--quant', 'q4'], 5, /runs q8, not q4/)
      await refused(
        ['--model-id', 'shared', '--model-dir', randomModel(join(root, 'others'), 6)],
        5,
        /has revision \w+, the ring uses \w+/,
      )
      assert.equal(loadRingIntents(openHome(home)).find(({ modelId }) => modelId === 'shared')?.modelDir, good)
    },
  )

  await t.test(
    'a copy with a hole of a MiB is another model, and one that holds no number is told with its tensor',
    async () => {
      const good = join(root, 'copy')
      cpSync(bundled, good, { recursive: true })
      await otherJoins(await joined('--model-dir', good), { ...readConfig(good).shape, fileBits: fileShape.fileBits })
      const bytes = readFileSync(join(good, 'model.safetensors'))
      const damaged = join(root, 'damaged', 'copy')
      cpSync(good, damaged, { recursive: true })
      const file = join(damaged, 'model.safetensors')
      writeFileSync(file, Buffer.from(bytes).fill(0, 3_000_001, 3_000_001 + 2 ** 20))
      await refused(['--model-dir', damaged], 5, /copy here has revision \w+, the ring uses/)
      writeFileSync(file, Buffer.from(bytes).fill(0xff, 3_000_000, 3_000_004))
      await refused(
        ['--model-dir', damaged],
        5,
        /tensor model\.\S+ in \S+ cannot be used: B?F16 that is infinite or not a number at row \d+, column \d+/,
      )
    },
  )

  await t.test('a first intent that is refused is not remembered', async () => {
    const ring = await joined('--model-dir', randomModel(join(root, 'late'), 7))
    await otherJoins(ring)
    await mesh(['leave-ring', '--model-id', 'late'], { home })
    await refused(['--model-dir', randomModel(join(root, 'late'), 8)], 5, /the ring uses/)
  })

  await t.test('without a control plane nothing is remembered', async () => {
    mkdirSync(join(root, 'x'), { recursive: true })
    await refused(
      ['--model-dir', randomModel(join(root, 'x'), 9), '--control-plane', 'http://127.0.0.1:9'],
      4,
      /no control plane answers/,
    )
  })

  await t.test('an entry of an older version that cannot be read is told, and costs nothing else', async () => {
    const file = openHome(home).rings
    const bad = { poolId: 'ab'.repeat(32), modelId: 'white space', quant: 'q8', share: 1 }
    writeFileSync(file, JSON.stringify([bad, ...loadRingIntents(openHome(home))]))
    const result = await meshHere(['join-ring', '--model-id', 'tiny-story'], home)
    assert.equal(result.code, 0, result.stderr)
    assert.match(result.stderr, /note: in .*rings\.json .*white space/)
    assert.deepEqual((JSON.parse(intents()) as unknown[])[0], bad)
  })
})
