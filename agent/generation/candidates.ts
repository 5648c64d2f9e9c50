/**
 * The best tokens of one rank's part of the vocabulary, as rank 0 needs them for sampling.
 *
 * On the wire (little-endian): u32 count, with the highest bit set when these are all tokens of the rank; f32
 * log-sum-exp; then u32 [count] token ids, then f32 [count] logits. All logits of a rank: u32 first token id, then f32
 * [own vocabulary columns].
 */
import { MeshError } from '../../shared/errors.ts'
import type { Range } from '../../shared/schema/common.ts'
import type { Sampling } from '../../shared/schema/job.ts'
import { limits } from '../../shared/limits.ts'

export interface Candidates {
  /** Sorted by logit, highest first; equal logits by id, lowest first. */
  readonly ids: Uint32Array
  /** After the repetition penalty, before the temperature. */
  readonly logits: Float32Array
  /** log of the sum of exp(logit / temperature) over all of the rank's tokens (temperature 1 when greedy). */
  readonly logSumExp: number
  /** These are all tokens of the rank. */
  readonly complete: boolean
}

/** How many candidates a rank sends: the best one decides greedily. */
export const candidateCount = (sampling: Sampling): number => (sampling.temperature === 0 ? 1 : limits.candidates)

const headBytes = 8
const completeBit = 2 ** 31

export const encodeCandidates = ({ ids, logits, logSumExp, complete }: Candidates): Uint8Array => {
  const bytes = new Uint8Array(headBytes + 8 * ids.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, ids.length + (complete ? completeBit : 0), true)
  view.setFloat32(4, logSumExp, true)
  for (const [index, id] of ids.entries()) {
    view.setUint32(headBytes + 4 * index, id, true)
    view.setFloat32(headBytes + 4 * (ids.length + index), logits[index], true)
  }
  return bytes
}

const invalidCandidates = (problem: string): MeshError =>
  new MeshError('frameInvalid', { problem: `candidates: ${problem}` })

/** No honest rank sends others: each from its own part of the vocabulary, the best first, all of them numbers. */
const checkCandidates = ({ ids, logits, logSumExp, complete }: Candidates, { start, end }: Range): void => {
  if (complete && ids.length !== end - start) throw invalidCandidates(`${ids.length} as all of ${end - start}`)
  if (Number.isNaN(logSumExp) || logSumExp === Infinity) throw invalidCandidates(`a sum of ${logSumExp}`)
  for (const [index, id] of ids.entries()) {
    if (id < start || id >= end)
      throw invalidCandidates(`token ${id}, its part of the vocabulary is ${start} to ${end - 1}`)
    const [before, logit] = [logits[index - 1], logits[index]]
    if (!Number.isFinite(logit)) throw invalidCandidates(`token ${id} with a logit of ${logit}`)
    if (index > 0 && (logit > before || (logit === before && id <= ids[index - 1])))
      throw invalidCandidates('not in order')
  }
}

/** @param vocabulary columns of the rank that sent them. @throws MeshError `frameInvalid` */
export const decodeCandidates = (bytes: Uint8Array, vocabulary: Range): Candidates => {
  if (bytes.length < headBytes) throw invalidCandidates(`${bytes.length} bytes`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const word = view.getUint32(0, true)
  const complete = word >= completeBit
  const count = complete ? word - completeBit : word
  if (count > limits.candidates) throw invalidCandidates(`${count} of them, ${limits.candidates} is the limit`)
  if (bytes.length !== headBytes + 8 * count) throw invalidCandidates(`${bytes.length} bytes for ${count} of them`)
  if (count === 0 && !complete) throw invalidCandidates('none of those that there are')
  const ids = new Uint32Array(count)
  const logits = new Float32Array(count)
  for (let index = 0; index < count; index++) {
    ids[index] = view.getUint32(headBytes + 4 * index, true)
    logits[index] = view.getFloat32(headBytes + 4 * (count + index), true)
  }
  const candidates = { ids, logits, logSumExp: view.getFloat32(4, true), complete }
  checkCandidates(candidates, vocabulary)
  return candidates
}

const firstBytes = 4

/** Adjusted logits of one rank: that of token `vocabStart + i` at index i. */
export interface RankLogits {
  readonly vocabStart: number
  readonly logits: Float32Array
}

export const encodeLogits = ({ vocabStart, logits }: RankLogits): Uint8Array => {
  const bytes = new Uint8Array(firstBytes + 4 * logits.length)
  new DataView(bytes.buffer).setUint32(0, vocabStart, true)
  new Float32Array(bytes.buffer, firstBytes).set(logits)
  return bytes
}

/** @param vocabulary columns of the rank that sent them. @throws MeshError `frameInvalid` */
export const decodeLogits = (bytes: Uint8Array, { start, end }: Range): RankLogits => {
  const invalid = (problem: string): MeshError => new MeshError('frameInvalid', { problem: `logits: ${problem}` })
  if (bytes.length < firstBytes || bytes.length % 4 !== 0) throw invalid(`${bytes.length} bytes`)
  const vocabStart = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)
  const logits = new Float32Array(bytes.slice(firstBytes).buffer)
  if (vocabStart !== start || logits.length !== end - start)
    throw invalid(`${logits.length} from ${vocabStart}, its part of the vocabulary is ${start} to ${end - 1}`)
  if (!logits.every(Number.isFinite)) throw invalid('one is no finite number')
  return { vocabStart, logits }
}
