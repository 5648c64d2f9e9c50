/**
 * The links of an epoch as rank 0 reports them, with what it makes of them for a written token and for a lane of a
 * prompt.
 */
import type { RingEpoch, RingLink, RingNetwork } from '../../shared/schema/ring.ts'
import { algorithmFor, type CollectiveSettings, slowestOf } from '../collective/chooser.ts'
import { lanesOf } from '../engine/lanes.ts'
import { prefillChunkTokens } from '../generation/protocol.ts'

/** @param streamsReason why sums do not go over sockets, if they do not */
export const networkOf = (
  { model, members }: RingEpoch,
  settings: CollectiveSettings,
  links: readonly RingLink[],
  streamsReason?: string,
): RingNetwork => {
  const rowBytes = model.shape.hidden * 4
  const choice = (bytes: number): RingNetwork['decode'] => ({
    bytes,
    algorithm: algorithmFor(settings, members.length, bytes),
  })
  return {
    links: [...links],
    slowest: slowestOf(links),
    collective: settings.algorithm,
    carrier: settings.carrier,
    ...(streamsReason === undefined ? {} : { streamsReason }),
    decode: choice(rowBytes),
    prefill: choice(lanesOf([], prefillChunkTokens)[0].count * rowBytes),
  }
}
