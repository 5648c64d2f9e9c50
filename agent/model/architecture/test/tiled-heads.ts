/** Moves value heads of delta nets from the order of Hugging Face to that of GGUF, as llama.cpp's converter does. */
import type { DeltaSpec, ModelSpec } from '../model-spec.ts'
import type { Checkpoint } from '../random-checkpoint.ts'
import type { RoleTensor } from '../tensor-roles.ts'

/** Grouped head of each tiled one: heads of key head 0 come every keyHeads heads. */
const grouped = ({ keyHeads, valueHeads }: DeltaSpec, head: number): number =>
  (head % keyHeads) * (valueHeads / keyHeads) + Math.floor(head / keyHeads)

const withValues = (tensor: RoleTensor, valueAt: (row: number, column: number, values: Float32Array) => number) => {
  const { rows, columns } = tensor
  const values = tensor.readRows(0, rows)
  const moved = Float32Array.from({ length: rows * columns }, (_, i) =>
    valueAt(Math.floor(i / columns), i % columns, values),
  )
  const readRows = (start: number, end: number): Float32Array => moved.slice(start * columns, end * columns)
  return { ...tensor, readRows, readBytes: (start: number, end: number) => new Uint8Array(readRows(start, end).buffer) }
}

/** Rows of value heads lie behind `skipped` other rows. */
const movedRows = (tensor: RoleTensor, spec: DeltaSpec, size: number, skipped: number): RoleTensor =>
  withValues(tensor, (row, column, values) => {
    const own = row - skipped
    const from = own < 0 ? row : skipped + grouped(spec, Math.floor(own / size)) * size + (own % size)
    return values[from * tensor.columns + column]
  })

const movedColumns = (tensor: RoleTensor, spec: DeltaSpec): RoleTensor =>
  withValues(tensor, (row, column, values) => {
    const from = grouped(spec, Math.floor(column / spec.valueDim)) * spec.valueDim + (column % spec.valueDim)
    return values[row * tensor.columns + from]
  })

const moved = (tensor: RoleTensor, spec: DeltaSpec): RoleTensor => {
  const part = tensor.role.replace(/^layers\.\d+\.delta\./, '')
  if (part === 'qkv' || part === 'convolution')
    return movedRows(tensor, spec, spec.valueDim, 2 * spec.keyHeads * spec.keyDim)
  if (part === 'z') return movedRows(tensor, spec, spec.valueDim, 0)
  if (['a', 'b', 'dtBias', 'decay'].includes(part)) return movedRows(tensor, spec, 1, 0)
  return part === 'o' ? movedColumns(tensor, spec) : tensor
}

export const tiled = ({ family, spec, roles }: Checkpoint): Checkpoint => {
  const asTiled: ModelSpec = {
    ...spec,
    kinds: spec.kinds.map((kind) =>
      kind.mixer.kind === 'delta' ? { ...kind, mixer: { ...kind.mixer, valueOrder: 'tiled' } } : kind,
    ),
  }
  const own = [...roles].map(([role, tensor]): [string, RoleTensor] => {
    const layer = /^layers\.(\d+)\.delta\./.exec(role)?.[1]
    const mixer = layer === undefined ? undefined : spec.kinds[spec.layers[Number(layer)]].mixer
    return [role, mixer?.kind === 'delta' ? moved(tensor, mixer) : tensor]
  })
  return { family, spec: asTiled, roles: new Map(own) }
}
