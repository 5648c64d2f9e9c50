/**
 * What devices would hold of a model, from its headers alone: the plan is the one that the control plane makes, and
 * bytes to fetch are those of the tensors in the files whose rows or columns a device would need.
 */
import { statSync } from 'node:fs'
import { Type } from 'typebox'
import { partsOf, rangeOf, sizeOf, weightsOf } from '../../shared/plan/shard-plan.ts'
import { planWithin } from '../../shared/plan/shard-memory.ts'
import { Count } from '../../shared/schema/common.ts'
import type { ModelShape, Quant } from '../../shared/schema/model.ts'
import { RankRanges } from '../../shared/schema/ring.ts'
import { layerSpec, type ModelSpec } from '../model/architecture/model-spec.ts'
import { rolesOf } from '../model/architecture/roles.ts'
import { configOfSource } from '../model/config.ts'
import { fileBitsOf, partName } from '../model/model-shape.ts'
import { type ModelSource, openSource } from '../model/model-source.ts'
import type { TensorInfo } from '../model/tensor-file.ts'

/** A device as it is described, not as it is. */
export interface PlannedDevice {
  readonly name: string
  /** What it may take for the shard, all in. */
  readonly roomBytes: number
  readonly share: number
}

const DevicePlan = Type.Object({
  name: Type.String(),
  roomBytes: Count,
  bytes: Type.Integer({ minimum: 0, description: 'memory for its part: weights, caches, two processes' }),
  fetchBytes: Type.Integer({ minimum: 0, description: 'of the files: its own rows and columns, and what all hold' }),
  ranges: RankRanges,
})

export const ModelPlan = Type.Object({
  family: Type.String(),
  weights: Count,
  weightBytes: Type.Integer({ minimum: 0, description: 'of the files of weights, whole' }),
  modelContext: Count,
  fits: Type.Boolean(),
  context: Type.Optional(Type.Integer({ minimum: 0, description: 'tokens that fit on every device' })),
  devices: Type.Array(DevicePlan, { description: 'in the order given; empty where it does not fit' }),
  shortage: Type.Optional(
    Type.Object(
      { name: Type.String(), needsBytes: Count, lacksBytes: Count },
      { description: 'the device that lacks most in the plan that comes nearest' },
    ),
  ),
})
export type ModelPlan = Type.Static<typeof ModelPlan>

/** Bytes of the files by the dimension that they are cut in; what every device needs whole is under ''. */
const bytesByPart = (spec: ModelSpec, shape: ModelShape, source: ModelSource): Map<string, number> => {
  const known = new Set(partsOf(shape).map(({ name }) => name))
  const roles = rolesOf(spec)
  // one tensor of a file may hold several canonical ones: gate and up, all experts
  const users = new Map<TensorInfo, number>()
  for (const { role } of roles)
    for (const tensor of source.partsOf(role)) users.set(tensor, (users.get(tensor) ?? 0) + 1)
  const sums = new Map<string, number>()
  for (const { role, layer, part } of roles) {
    const cut = layer === undefined ? undefined : partName(spec, layerSpec(spec, layer), part)
    // a tied embedding is fetched once, whole; the head is a part of it
    const name = role === 'head' && !spec.tied ? 'head' : cut !== undefined && known.has(cut) ? cut : ''
    const bytes = source
      .partsOf(role)
      .reduce((sum, tensor) => sum + (tensor.end - tensor.start) / (users.get(tensor) ?? 1), 0)
    sums.set(name, (sums.get(name) ?? 0) + bytes)
  }
  return sums
}

const fetchBytesOf = (shape: ModelShape, ranges: RankRanges, parts: ReadonlyMap<string, number>): number => {
  const cut = partsOf(shape).reduce(
    (sum, part) => sum + ((parts.get(part.name) ?? 0) * sizeOf(rangeOf(ranges, part))) / part.units,
    (parts.get('head') ?? 0) * (sizeOf(ranges.vocab) / shape.vocab),
  )
  return Math.round(cut + (parts.get('') ?? 0))
}

/**
 * @param path a folder, or a GGUF file; of its weights nothing is read, they need not even be there
 * @throws MeshError of what is missing, damaged or not supported | `planImpossible`
 */
export const planModel = (
  path: string,
  { quant, devices }: { readonly quant: Quant; readonly devices: readonly PlannedDevice[] },
): ModelPlan => {
  const source = openSource(path)
  try {
    const { spec } = source
    const shape = { ...configOfSource(source).shape, ...fileBitsOf(spec, source.roles()) }
    const about = {
      family: spec.family,
      weights: weightsOf(shape),
      weightBytes: source.bytes,
      modelContext: shape.context,
    }
    const plan = planWithin(shape, quant, devices)
    if (!plan.fits) {
      const { rank, needsBytes, lacksBytes } = plan
      const shortage = {
        name: devices[rank].name,
        needsBytes: Math.ceil(needsBytes),
        lacksBytes: Math.ceil(lacksBytes),
      }
      return { ...about, fits: false, devices: [], shortage }
    }
    const parts = bytesByPart(spec, shape, source)
    return {
      ...about,
      fits: true,
      context: plan.context,
      devices: devices.map(({ name, roomBytes }, rank) => ({
        name,
        roomBytes,
        bytes: Math.ceil(plan.bytes[rank]),
        fetchBytes: fetchBytesOf(shape, plan.ranges[rank], parts),
        ranges: plan.ranges[rank],
      })),
    }
  } finally {
    source.close()
  }
}

/** A path, where something lies there; else a name. */
export const isPath = (text: string): boolean => statSync(text, { throwIfNoEntry: false }) !== undefined
