/**
 * The best tokens of one rank's part of the vocabulary, as rank 0 needs them for sampling.
 *
 * On the wire (little-endian): u32 count, f32 log-sum-exp, then u32 [count] token ids, then f32 [count] logits.
 */
import { MeshError } from '../../shared/errors.ts'
import type { Sampling } from '../../shared/schema/job.ts'
import { limits } from '../../shared/wire/limits.ts'

export interface Candidates {
  /** Sorted by logit, highest first; equal logits by id, lowest first. */
  readonly ids: Uint32Array
  /** After the repetition penalty, before the temperature. */
  readonly logits: Float32Array
  /** log of the sum of exp(logit / temperature) over all of the rank's tokens (temperature 1 when greedy). */
  readonly logSumExp: number
}

/** How many candidates a rank sends: the best one decides greedily. */
export const candidateCount = (sampling: Sampling): number => (sampling.temperature === 0 ? 1 : limits.candidates)

const headBytes = 8

export const encodeCandidates = ({ ids, logits, logSumExp }: Candidates): Uint8Array => {
  const bytes = new Uint8Array(headBytes + 8 * ids.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, ids.length, true)
  view.setFloat32(4, logSumExp, true)
  for (const [index, id] of ids.entries()) {
    view.setUint32(headBytes + 4 * index, id, true)
    view.setFloat32(headBytes + 4 * (ids.length + index), logits[index], true)
  }
  return bytes
}

/** @throws MeshError `frameInvalid` */
export const decodeCandidates = (bytes: Uint8Array): Candidates => {
  const invalid = (problem: string): MeshError => new MeshError('frameInvalid', { problem: `candidates: ${problem}` })
  if (bytes.length < headBytes) throw invalid(`${bytes.length} bytes`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const count = view.getUint32(0, true)
  if (count > limits.candidates) throw invalid(`${count} of them, ${limits.candidates} is the limit`)
  if (bytes.length !== headBytes + 8 * count) throw invalid(`${bytes.length} bytes for ${count} of them`)
  const ids = new Uint32Array(count)
  const logits = new Float32Array(count)
  for (let index = 0; index < count; index++) {
    ids[index] = view.getUint32(headBytes + 4 * index, true)
    logits[index] = view.getFloat32(headBytes + 4 * (count + index), true)
  }
  return { ids, logits, logSumExp: view.getFloat32(4, true) }
}
