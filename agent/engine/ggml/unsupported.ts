/** What of a model or of a cut these graphs do not compute: refused by name before any native call. */
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import { notComputed } from '../../model/architecture/computed.ts'
import { keyHeadsOf } from '../../model/delta-cut.ts'
import { columnsOf, headsOf, isHeaded, widthsOf } from '../../model/shard-ranges.ts'
import type { BackendOptions } from '../backend.ts'
import { blockColumns } from './blocks.ts'

/** Widths of matrices, and where cut ones begin: of quantised matrices that have to be whole blocks. */
const blockProblem = ({ spec, ranges }: BackendOptions): string | undefined => {
  const heads = spec.kinds.flatMap(({ mixer }) =>
    isHeaded(mixer)
      ? [
          {
            range: headsOf(spec, ranges, mixer).heads,
            width: mixer.kind === 'mla' ? mixer.valueDim : mixer.headDim,
          },
        ]
      : [{ range: keyHeadsOf(ranges, mixer), width: mixer.valueDim }],
  )
  const latents = spec.kinds.flatMap(({ mixer }) =>
    mixer.kind === 'mla' ? [mixer.queryRank ?? 0, mixer.kvRank, mixer.nopeDim] : [],
  )
  const columns = widthsOf(spec).map((width) => ({ range: columnsOf(spec, ranges, width), width: 1 }))
  const cuts = [...heads, ...columns]
  const odd = [spec.hidden, ...latents, ...cuts.map(({ range, width }) => sizeOf(range) * width)].find(
    (size) => size % blockColumns !== 0,
  )
  if (odd !== undefined) return `a matrix is ${odd} columns wide, quantised ones must be multiples of ${blockColumns}`
  const first = cuts
    .filter(({ range }) => sizeOf(range) > 0)
    .map(({ range, width }) => range.start * width)
    .find((column) => column % blockColumns !== 0)
  return first === undefined
    ? undefined
    : `this rank's part of a matrix begins at column ${first}, in the middle of a block of ${blockColumns}`
}

/** Why ggml cannot run this shard; `undefined` when it can. */
export const unsupported = (options: BackendOptions): string | undefined => {
  const part = notComputed(options.spec)
  if (part !== undefined) return `${part} cannot be computed yet (${options.spec.family})`
  return options.quant === 'f32' || options.quant === 'file' ? undefined : blockProblem(options)
}
