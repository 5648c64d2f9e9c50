/** Weights that keep the bits of their file: computed as they are, cut at the borders of their blocks, or finer. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { weightBytes } from '../../shared/plan/shard-memory.ts'
import { planShards } from '../../shared/plan/shard-plan.ts'
import type { ModelSpec } from '../model/architecture/model-spec.ts'
import { randomRoles } from '../model/architecture/random-checkpoint.ts'
import { oracleLogits } from '../model/architecture/test/oracle.ts'
import { rowBytes, type RoleTensor, type WeightType } from '../model/architecture/tensor-roles.ts'
import { decodeBlocks } from '../model/blocks/formats.ts'
import { ggmlQuantize } from '../model/blocks/test/ggml-blocks.ts'
import { fileBitsOf, shapeOf } from '../model/model-shape.ts'
import { layoutShard } from '../model/shard-layout.ts'
import { matrixParts } from '../model/shard-parts.ts'
import { readKept, storedTypes } from '../model/shard-types.ts'
import { inlineBackends } from './test/inline-backend.ts'
import { specs } from './test/specs.ts'
import { rolesIn, tokensOf, worstError } from './test/worst-error.ts'

const skip = !inlineBackends.ggml

/** Columns of o are 64 for each of four heads, those of the MLP 768: cuts lie inside of blocks of 256. */
const dense = ((): ModelSpec => {
  const spec = specs['biases of q, k, v and o, tied']
  const [kind] = spec.kinds
  assert.equal(kind.mixer.kind, 'attention')
  return {
    ...spec,
    hidden: 256,
    tied: false,
    kinds: [
      {
        ...kind,
        mixer: { ...kind.mixer, heads: 16, kvHeads: 4 },
        feedForward: { ...kind.feedForward, dense: { ffn: 768, bias: false } },
      },
    ],
  }
})()

const experts: ModelSpec = {
  ...dense,
  kinds: dense.kinds.map((kind) => ({
    ...kind,
    feedForward: {
      ...specs['experts, renormalised softmax'].kinds[0].feedForward,
      experts: { ...specs['experts, renormalised softmax'].kinds[0].feedForward.experts!, count: 4, used: 2, ffn: 512 },
    },
  })),
}

type RoleMap = ReadonlyMap<string, RoleTensor>

/** The same model with its matrices in blocks of that type. */
const quantised = (plain: RoleMap, type: WeightType): RoleMap => {
  const inBlocks = (tensor: RoleTensor): RoleTensor => {
    if (tensor.columns === 1 || tensor.role.endsWith('router')) return tensor
    const bytes = ggmlQuantize(type, tensor.readRows(0, tensor.rows), tensor.columns)
    const readBytes = (start: number, end: number): Uint8Array => {
      const size = rowBytes(type, tensor.columns)
      return bytes.slice(start * size, end * size)
    }
    return { ...tensor, type, readBytes, readRows: (a, b) => decodeBlocks(type, readBytes(a, b)) }
  }
  return new Map(Array.from(plain, ([name, tensor]) => [name, inBlocks(tensor)]))
}

const chunks = [6]

const worstOf = (spec: ModelSpec, roles: RoleMap, shares: readonly number[]): Promise<number> =>
  worstError({ spec, roles, quant: 'file', shares, chunks }, oracleLogits(spec, roles, tokensOf(spec, chunks)))

/** Activations are rounded to 8 bits, or to those of 16-bit weights; exact weights have exact ones. */
const bounds: Readonly<Partial<Record<WeightType, number>>> = { F32: 2e-4, F16: 5e-3, BF16: 5e-2 }
const types: readonly WeightType[] = [
  'F32',
  'F16',
  'BF16',
  'Q4_0',
  'Q4_1',
  'Q5_0',
  'Q5_1',
  'Q8_0',
  'IQ4_NL',
  'MXFP4',
  'Q2_K',
  'Q3_K',
  'Q4_K',
  'Q5_K',
  'Q6_K',
  'IQ4_XS',
]

for (const type of types)
  test(`ggml: ${type}: computed from the bits of the file, whole and cut`, { skip }, async () => {
    const roles = quantised(randomRoles(dense, 1), type)
    for (const shares of [[1], [3, 1, 2]]) {
      const error = await worstOf(dense, roles, shares)
      assert.ok(error < (bounds[type] ?? 0.1), `shares ${shares.join(' ')}: relative error ${error}`)
    }
  })

for (const type of ['MXFP4', 'Q4_K'] as const)
  test(`ggml: experts in ${type}: computed from the bits of the file, whole and cut`, { skip }, async () => {
    const roles = quantised(randomRoles(experts, 1), type)
    for (const shares of [[1], [3, 1]]) {
      const error = await worstOf(experts, roles, shares)
      assert.ok(error < (bounds[type] ?? 0.2), `shares ${shares.join(' ')}: relative error ${error}`)
    }
  })

test(
  'a rank that holds all has the bytes of the file; finer blocks come where cuts need them, and there alone',
  { skip },
  () => {
    const roles = rolesIn(quantised(randomRoles(dense, 1), 'Q4_K'), dense)
    const shape = shapeOf(dense)
    const [all] = planShards(shape, [1])
    for (const part of matrixParts(dense, all, 'separate')) {
      const tensor = roles.role(part.name)
      assert.deepEqual(readKept(roles, part, { start: 0, end: part.rows }, 'Q4_K'), tensor.readBytes(0, tensor.rows))
    }
    for (const ranges of planShards(shape, [3, 1, 2]))
      for (const [name, type] of Object.entries(storedTypes(dense, ranges, roles)))
        if (!/\.(o|down)$/.test(name)) assert.equal(type, 'Q4_K', name)
        else assert.ok(type === 'Q4_K' || type === 'Q4_1', `${name}: ${type}`)
    const cut = planShards(shape, [3, 1, 2]).flatMap((ranges) => Object.values(storedTypes(dense, ranges, roles)))
    assert.ok(cut.includes('Q4_1'))
  },
)

test('the plan counts the bits of the file', { skip }, () => {
  for (const spec of [dense, experts])
    for (const type of ['F32', 'Q4_K'] as const) {
      const roles = rolesIn(quantised(randomRoles(spec, 1), type), spec)
      const shape = { ...shapeOf(spec), ...fileBitsOf(spec, roles) }
      for (const ranges of planShards(shape, [3, 1, 2])) {
        const content = { spec, ranges, quant: 'file', types: storedTypes(spec, ranges, roles) } as const
        const { bytes, tensors } = layoutShard(content)
        const planned = weightBytes(shape, 'file', ranges)
        assert.ok(
          planned >= bytes && planned < bytes + 12 * 4096 * (tensors.length + 1),
          `${type}: ${planned} for ${bytes}`,
        )
      }
    }
})
