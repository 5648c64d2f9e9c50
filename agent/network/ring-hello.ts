/** What two ranks say to each other before frames flow: which ring, epoch and rank each means, or why not. */
import { MeshError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { RingEpoch } from '../../shared/schema/ring.ts'
import { RingAnswer, RingHello } from '../../shared/wire/envelope.ts'
import { protocols } from '../../shared/wire/protocols.ts'

export const ringProtocol = {
  id: protocols.ring,
  streamsAtOnce: 4 * limits.worldSize,
  refusal: { level: 'debug', text: 'ring stream refused' },
} as const
/** The first message each way; then frames flow. */
export const ringForms = {
  hello: { schema: RingHello, bytes: limits.gateBytes },
  answer: { schema: RingAnswer, bytes: limits.gateBytes },
} as const

export const helloOf = (ring: RingEpoch, rank: number): RingHello => ({
  poolId: ring.poolId,
  ringId: ring.ringId,
  epoch: ring.epoch,
  rank,
  worldSize: ring.members.length,
})

/** Refusals that another try cannot change. An epoch that the other side does not know yet is none: it may still be loading. */
export const isFinal = (error: unknown, epoch: number): boolean => {
  if (!(error instanceof MeshError)) return false
  if (error.code === 'epochStale') return Number(error.fields.want) > epoch
  return [
    'gateRefused',
    'certificateInvalid',
    'certificateExpired',
    'memberRemoved',
    'notMember',
    'poolUnknown',
    'protocolVersion',
  ].includes(error.code)
}
