/** What a shard holds: the values of the model, however it is split. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { llamaSpec } from './architecture/llama.ts'
import { weightBytes } from '../../shared/plan/shard-memory.ts'
import { planShards } from '../../shared/plan/shard-plan.ts'
import type { ModelShape } from '../../shared/schema/model.ts'
import type { RankRanges } from '../../shared/schema/ring.ts'
import { openEmbedding } from './embedding.ts'
import { openModel } from './model-folder.ts'
import { type BlockFormat, dequantize, quantize } from './quantize.ts'
import { writeRandomModel } from './random-model.ts'
import { layoutShard, loadShard } from './shard-cache.ts'
import { readColumns, readRows } from './tensor-slice.ts'
import { shape, setUp, floats, bytes } from './test/shards.ts'

test('shard: f32 matrices are the rows and columns of the model', async (t) => {
  const { model, cacheFolder } = setUp(t)
  const [, ranges] = planShards(shape, [1, 1])
  const shard = await loadShard({ model, ranges, quant: 'f32', cacheFolder })
  const at = 'model.layers.1'
  assert.deepEqual(
    floats(shard, 'layers.1.attention.norm'),
    readRows(model.tensor(`${at}.input_layernorm.weight`), 0, 64),
  )
  const qkv = [
    ['q', ranges.heads],
    ['k', ranges.kvHeads],
    ['v', ranges.kvHeads],
  ] as const
  assert.deepEqual(
    [...floats(shard, 'layers.1.attention.qkv.w')],
    qkv.flatMap(([name, { start, end }]) => [
      ...readRows(model.tensor(`${at}.self_attn.${name}_proj.weight`), start * 32, end * 32),
    ]),
  )
  const o = model.tensor(`${at}.self_attn.o_proj.weight`)
  assert.deepEqual(
    floats(shard, 'layers.1.attention.o.w'),
    readColumns(o, { start: ranges.heads.start * 32, end: ranges.heads.end * 32 }, { start: 0, end: 64 }),
  )
  assert.deepEqual(
    floats(shard, 'head.w'),
    readRows(model.tensor('lm_head.weight'), ranges.vocab.start, ranges.vocab.end),
  )
  for (const { offset } of shard.tensors.values()) assert.equal(offset % 4096, 0)
})

test('shard: q4 and q8 hold the quantised rows', async (t) => {
  const { model, cacheFolder } = setUp(t)
  const [ranges] = planShards(shape, [1])
  for (const [quant, bits, block] of [
    ['q4', 4, 32],
    ['q8', 8, 32],
    ['q4', 4, 128],
  ] as const) {
    const shard = await loadShard({ model, ranges, quant, block, cacheFolder })
    const down = readColumns(model.tensor('model.layers.0.mlp.down_proj.weight'), ranges.ffn, { start: 0, end: 64 })
    const want = quantize(down, 64, ranges.ffn.end - ranges.ffn.start, { bits, block })
    assert.deepEqual(bytes(shard, 'layers.0.mlp.down.q'), want.codes)
    assert.deepEqual(floats(shard, 'layers.0.mlp.down.s'), want.scales)
  }
})

/** Matrices of a shard that hold some columns of a tensor, with where these begin and how many they are. */
const sliced = (
  { headDim, layers }: ModelShape,
  { heads, ffn }: RankRanges,
): { readonly name: string; readonly start: number; readonly end: number }[] =>
  Array.from({ length: layers }, (_, layer) => [
    { name: `layers.${layer}.attention.o`, start: heads.start * headDim, end: heads.end * headDim },
    { name: `layers.${layer}.mlp.down`, ...ffn },
  ])
    .flat()
    .filter(({ start, end }) => end > start)

test('shard: a weight has the same value however the model is split, wherever a part begins in a block', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-split-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const shapes = fc.record({
    headDim: fc.constantFrom(2, 8, 20, 64, 80),
    kvHeads: fc.integer({ min: 2, max: 6 }),
    group: fc.constantFrom(1, 3),
    ffn: fc.integer({ min: 40, max: 700 }),
  })
  const formats = fc.constantFrom<['q4' | 'q8', BlockFormat]>(
    ['q4', { bits: 4, block: 32 }],
    ['q8', { bits: 8, block: 32 }],
    ['q4', { bits: 4, block: 128 }],
  )
  let inside = 0
  await fc.assert(
    fc.asyncProperty(
      shapes,
      fc.array(fc.constantFrom(1, 2, 0.4), { minLength: 2, maxLength: 8 }),
      formats,
      fc.nat(1e6),
      async ({ group, ...sizes }, shares, [quant, format], seed) => {
        const own: ModelShape = {
          ...sizes,
          heads: group * sizes.kvHeads,
          layers: 1,
          hidden: 24,
          vocab: 40,
          context: 64,
        }
        const at = join(folder, `${seed}-${shares.join('-')}-${Object.values(own).join('-')}`)
        writeRandomModel(at, { shape: own, tied: true, dtype: 'F32', seed: seed + 1 })
        const model = openModel(at, 'm')
        try {
          const held = async (
            ranges: RankRanges,
          ): Promise<
            { name: string; start: number; end: number; lead: number; values: Float32Array; stored: number }[]
          > => {
            const shard = await loadShard({
              model,
              ranges,
              quant,
              block: format.block,
              cacheFolder: join(at, 'shards'),
            })
            return sliced(own, ranges).map((part) => {
              const stored = (shard.tensors.get(`${part.name}.s`)?.dims[1] ?? 0) * format.block
              const values = dequantize(
                { codes: bytes(shard, `${part.name}.q`), scales: floats(shard, `${part.name}.s`) },
                own.hidden,
                stored,
                format,
              )
              return { ...part, lead: part.start % format.block, values, stored }
            })
          }
          const [one] = planShards(own, [1])
          const whole = new Map((await held(one)).map((part) => [part.name, part]))
          for (const ranges of planShards(own, shares)) {
            for (const { name, start, end, lead, values, stored } of await held(ranges)) {
              inside += lead > 0 ? 1 : 0
              const want = whole.get(name) ?? assert.fail(name)
              for (let row = 0; row < own.hidden; row++) {
                const got = values.subarray(row * stored, (row + 1) * stored)
                assert.deepEqual(
                  got.subarray(lead, lead + end - start),
                  want.values.subarray(row * want.stored + start, row * want.stored + end),
                  name,
                )
                assert.ok(
                  got.every((value, column) => value === 0 || (column >= lead && column < lead + end - start)),
                  `${name}: columns of other ranks`,
                )
              }
            }
          }
        } finally {
          model.close()
        }
      },
    ),
    { numRuns: 20, seed: 5 },
  )
  assert.ok(inside > 30, `${inside} parts begin inside of a block`)
})

for (const tensor of ['self_attn.q_proj', 'self_attn.o_proj', 'input_layernorm'] as const) {
  test(`shard: ${tensor} that changed since it was read whole is named, and no shard is left`, async (t) => {
    const { model, cacheFolder } = setUp(t)
    const [, ranges] = planShards(shape, [1, 1])
    await model.identify()
    const file = join(model.folder, 'model.safetensors')
    const changed = readFileSync(file)
    changed[model.tensor(`model.layers.0.${tensor}.weight`).end - 1] ^= 1 // in what the other rank holds, too
    writeFileSync(file, changed)
    await assert.rejects(loadShard({ model, ranges, quant: 'q4', cacheFolder }), {
      code: 'weightsChanged',
      message: new RegExp(tensor),
    })
    assert.deepEqual(readdirSync(cacheFolder), [])
  })
}

test('shard: values that no scale can hold are told with the tensor, in each piece of a stacked matrix', async (t) => {
  const { model, cacheFolder } = setUp(t)
  const [ranges] = planShards(shape, [1])
  const file = join(model.folder, 'model.safetensors')
  const good = readFileSync(file)
  for (const tensor of ['mlp.gate_proj', 'mlp.up_proj', 'self_attn.v_proj'] as const) {
    const changed = Buffer.from(good)
    changed.set([0, 0x50], model.tensor(`model.layers.1.${tensor}.weight`).start + 640) // BF16 8.6e9
    writeFileSync(file, changed)
    const large = openModel(model.folder, 'm')
    for (const quant of ['q4', 'q8'] as const) {
      await assert.rejects(loadShard({ model: large, ranges, quant, cacheFolder }), {
        code: 'weightsUnusable',
        message: new RegExp(`layers\\.1\\.${tensor}.*too large for ${quant}`),
      })
    }
    await loadShard({ model: large, ranges, quant: 'f32', cacheFolder })
    large.close()
  }
})

test('embedding: rows are those of the file, also after it was touched; other bytes are told', async (t) => {
  const { model } = setUp(t)
  const { digests } = await model.identify()
  const file = join(model.folder, 'model.safetensors')
  const read = (token: number): Float32Array => {
    const row = new Float32Array(64)
    openEmbedding(model, digests).read([token], row)
    return row
  }
  const want = read(7)
  const now = new Date()
  utimesSync(file, now, now)
  assert.deepEqual(read(7), want)
  const changed = readFileSync(file)
  changed[model.tensor('model.embed_tokens.weight').start] ^= 1
  writeFileSync(file, changed)
  assert.throws(() => read(7), { code: 'weightsChanged', message: /embed_tokens/ })
})

test('shard: what the planner counts for weights is what the file has, or a little more', () => {
  const spec = llamaSpec({ shape, normEpsilon: 1e-5, rope: { theta: 10_000 }, tiedEmbeddings: true })
  for (const quant of ['f32', 'q8', 'q4'] as const) {
    for (const shares of [[1], [1, 1, 1], [5, 1]]) {
      for (const ranges of planShards(shape, shares)) {
        const layout = layoutShard({ spec, ranges, quant })
        const planned = weightBytes(shape, quant, ranges)
        assert.ok(
          planned >= layoutShard({ spec, ranges, quant, block: quant === 'q4' ? 128 : 32 }).bytes,
          'blocks of 128',
        )
        assert.ok(
          planned >= layout.bytes && planned <= layout.bytes + 2 * 4096 * (layout.tensors.length + 1),
          `${quant} ${shares.join()}: ${planned} for ${layout.bytes}`,
        )
      }
    }
  }
})
