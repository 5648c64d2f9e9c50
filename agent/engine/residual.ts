/**
 * What happens to the sum of a half layer: it is added to the residual, after a norm where the block has one behind its
 * halves. The norm needs the whole sum, so it stands after the all-reduce; every rank does the same in JavaScript, so
 * that the residual stays the same bits on all.
 */
import { layerSpec, type ModelSpec } from '../model/architecture/model-spec.ts'
import type { ShardFile } from '../model/shard-cache.ts'
import { vectors } from '../collective/vectors.ts'
import { normRow } from './norms.ts'
import { withPlainTensors } from './plain-tensors.ts'

/** What is summed over the ranks at once. A parallel block has its whole layer in the first half. */
export interface Half {
  readonly layer: number
  readonly half: 'attention' | 'mlp'
}

export interface Residual {
  /** In the order in which they run. */
  readonly halves: readonly Half[]
  /** @param half one of `halves`. @param residual f32 [rows, hidden]. @param sum of all ranks, of the same rows; not needed any more */
  add(half: Half, residual: Float32Array, sum: Float32Array): void
}

const halvesOf = ({ layers, kinds }: Pick<ModelSpec, 'layers' | 'kinds'>): Half[] =>
  layers.flatMap((kind, layer): Half[] => [
    { layer, half: 'attention' },
    ...(kinds[kind].block === 'parallel' ? [] : [{ layer, half: 'mlp' } as const]),
  ])

/** @throws MeshError `shardCorrupt` */
export const openResidual = (spec: ModelSpec, shard: ShardFile): Residual => {
  const halves = halvesOf(spec)
  const norms = withPlainTensors(shard, (plain) => {
    const named = halves.map((half) => ({ half, name: `layers.${half.layer}.${half.half}.postNorm` }))
    return new Map(named.filter(({ name }) => plain.has(name)).map(({ half, name }) => [half, plain.read(name)]))
  })
  return {
    halves,
    add: (half, residual, sum) => {
      const weight = norms.get(half)
      const { branchScale = 1 } = layerSpec(spec, half.layer)
      if (weight)
        for (let at = 0; at < sum.length; at += spec.hidden) {
          const row = sum.subarray(at, at + spec.hidden)
          normRow(spec.norm, weight, row, row)
        }
      if (branchScale !== 1) for (let i = 0; i < sum.length; i++) sum[i] *= branchScale
      vectors.add(residual, sum)
    },
  }
}
