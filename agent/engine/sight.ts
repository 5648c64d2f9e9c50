/** Keeps what a rank sees of a watched half layer: one row that goes in, and the same row of each part that comes. */
import type { PartSink } from '../collective/collective.ts'
import { rowOf, type WireType } from '../collective/wire-types.ts'
import type { Seen, Watch } from './engine.ts'
import type { Half } from './residual.ts'
import type { Lane } from './lanes.ts'

export interface Sight {
  /**
   * Asked before each sum.
   * @param residual f32 [rows of the lane, hidden], before the sum is added
   * @returns what gets the parts, if this is the half and the row that is watched
   */
  look(half: Half, lane: Pick<Lane, 'start' | 'count'>, residual: Float32Array): PartSink | undefined
  readonly seen: Seen | undefined
}

export const createSight = ({ layer, row }: Watch, hidden: number): Sight => {
  const parts = new Map<number, Float32Array>()
  let x: Float32Array | undefined
  let wire: WireType = 'f32'
  return {
    look: (half, { start, count }, residual) => {
      if (half.half !== 'mlp' || half.layer !== layer || row < start || row >= start + count) return undefined
      const place = { start: (row - start) * hidden, length: hidden, total: count * hidden }
      x = residual.slice(place.start, place.start + hidden)
      return (part) => {
        const values = rowOf(part.bytes, part.wire, place)
        if (values) parts.set(part.rank, values)
        wire = part.wire
      }
    },
    get seen() {
      return x && parts.size > 0 ? { layer, x, parts, wire } : undefined
    },
  }
}
