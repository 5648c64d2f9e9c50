/**
 * What happens to the sum of a half layer: it is added to the residual, after a norm where the block has one behind its
 * halves. The norm needs the whole sum, so it stands after the all-reduce; every rank does the same in JavaScript, so
 * that the residual stays the same bits on all.
 */
import { layerSpec, type ModelSpec } from '../model/architecture/model-spec.ts'
import type { ShardFile } from '../model/shard-cache.ts'
import { vectors } from '../collective/vectors.ts'
import { normRow, type NormWeights, readNorm } from './norms.ts'
import { withPlainTensors } from './plain-tensors.ts'

/** What is summed over the ranks at once. A parallel block has its whole layer in the first half. */
export interface Half {
  readonly layer: number
  readonly half: 'attention' | 'mlp'
}

export interface Residual {
  /** In the order in which they run. */
  readonly halves: readonly Half[]
  /** @param residual f32 [rows, hidden]. @param sum of all ranks, of the same rows; not needed any more */
  add(half: Half, residual: Float32Array, sum: Float32Array): void
}

export const halvesOf = ({ layers, kinds }: Pick<ModelSpec, 'layers' | 'kinds'>): Half[] =>
  layers.flatMap((kind, layer): Half[] => [
    { layer, half: 'attention' },
    ...(kinds[kind].block === 'parallel' ? [] : [{ layer, half: 'mlp' } as const]),
  ])

/** That of a model without norms behind its halves. */
export const plainResidual = (layers: number): Residual => ({
  halves: Array.from({ length: layers }, (_, layer): Half[] => [
    { layer, half: 'attention' },
    { layer, half: 'mlp' },
  ]).flat(),
  add: (_, residual, sum) => vectors.add(residual, sum),
})

/** @throws MeshError `shardCorrupt` */
export const openResidual = (spec: ModelSpec, shard: ShardFile): Residual => {
  const halves = halvesOf(spec)
  const norms = withPlainTensors(
    shard,
    (plain) =>
      new Map<string, NormWeights>(
        halves
          .map(({ layer, half }) => `layers.${layer}.${half}.postNorm`)
          .filter((name) => plain.has(name))
          .map((name) => [name, readNorm(plain, name)]),
      ),
  )
  return {
    halves,
    add: ({ layer, half }, residual, sum) => {
      const weights = norms.get(`layers.${layer}.${half}.postNorm`)
      const { branchScale = 1 } = layerSpec(spec, layer)
      if (weights)
        for (let at = 0; at < sum.length; at += spec.hidden) {
          const row = sum.subarray(at, at + spec.hidden)
          normRow(spec.norm, weights, row, row)
        }
      if (branchScale !== 1) for (let i = 0; i < sum.length; i++) sum[i] *= branchScale
      vectors.add(residual, sum)
    },
  }
}
