/** Drawing the next token from the logits of all ranks: what rank 0 asks, and what the others answer. */
import { MeshError } from '../../shared/errors.ts'
import type { Range } from '../../shared/schema/common.ts'
import type { RingMember } from '../../shared/schema/ring.ts'
import type { RingControl } from '../../shared/wire/envelope.ts'
import { type Channel, othersOf, payloadOf } from '../channel/channel.ts'
import { wrongPeer } from '../channel/peer-errors.ts'
import {
  candidateCount,
  type Candidates,
  decodeCandidates,
  decodeLogits,
  encodeCandidates,
  encodeLogits,
  type RankLogits,
} from './candidates.ts'
import { candidatesTag, logitsTag } from './protocol.ts'
import { adjustLogits, type DrawContext, sample, sampleAll, topCandidates } from './sampler.ts'

/** One row of logits on one rank, and what is drawn from it. */
export interface DrawnRow extends DrawContext {
  readonly job: number
  readonly step: number
  readonly vocabStart: number
  /** f32 [own vocabulary columns] */
  readonly logits: Float32Array
}

const candidatesOf = ({ logits, vocabStart, history, sampling }: DrawnRow): Candidates =>
  topCandidates(logits, vocabStart, { count: candidateCount(sampling), history, sampling })

const allOf = ({ logits, vocabStart, history, sampling }: DrawnRow): RankLogits => ({
  vocabStart,
  logits: adjustLogits(logits, vocabStart, { history, sampling }),
})

/** What rank 0 knows of a rank: its name, and what it holds of the vocabulary. */
export type Rank = Pick<RingMember, 'rank' | 'name' | 'ranges'>

export interface DrawOptions {
  /** Absent in a ring of one. */
  readonly channel: Channel | undefined
  /** All ranks, in order. */
  readonly members: readonly Rank[]
  /** Index in the context that the token will have. */
  readonly position: number
}

/** What a rank sent, or its name where it cannot be right. */
const from = <T>(
  { rank, name, ranges }: Rank,
  bytes: Uint8Array,
  decode: (bytes: Uint8Array, vocabulary: Range) => T,
): T => {
  try {
    return decode(bytes, ranges.vocab)
  } catch (error) {
    throw wrongPeer({ rank, name }, String(MeshError.from(error).fields.problem), error)
  }
}

/**
 * On rank 0: candidates of all ranks first, all logits where they do not tell.
 * @throws MeshError `peerLost` | `collectiveTimeout` | `peerInvalid` | `backendFailed`
 */
export const drawToken = async (row: DrawnRow, { channel, members, position }: DrawOptions): Promise<number> => {
  const { job, step, sampling } = row
  const own = candidatesOf(row) // while the others pick theirs
  const others = channel ? othersOf(channel) : []
  const receive = (rank: number, tag: ReturnType<typeof candidatesTag>): Promise<Uint8Array> =>
    (channel as Channel).receive(rank, tag).then(({ bytes }) => bytes)
  const theirs = await Promise.all(
    others.map(async (rank) => from(members[rank], await receive(rank, candidatesTag(job, step)), decodeCandidates)),
  )
  const drawn = sample([own, ...theirs], sampling, position)
  if (drawn) return drawn.id
  await Promise.all(others.map((rank) => channel?.sendControl(rank, { type: 'logits', job, step })))
  const all = await Promise.all(
    others.map(async (rank) => from(members[rank], await receive(rank, logitsTag(job, step)), decodeLogits)),
  )
  return sampleAll([allOf(row), ...all], sampling, position).id
}

/** On the other ranks: after a step. */
export const sendCandidates = (row: DrawnRow, channel: Channel): Promise<void> =>
  channel.send(0, candidatesTag(row.job, row.step), payloadOf(encodeCandidates(candidatesOf(row))))

/** On the other ranks: when rank 0 asks. The row of another step than the last is gone. */
export const sendLogits = async (
  row: DrawnRow | undefined,
  { job, step }: Extract<RingControl, { type: 'logits' }>,
  channel: Channel,
): Promise<void> => {
  if (row?.job === job && row.step === step)
    await channel.send(0, logitsTag(job, step), payloadOf(encodeLogits(allOf(row))))
}
