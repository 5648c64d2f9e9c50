/** A ring: the devices of a pool that serve one model together. Any change of members makes a new epoch. */
import { Type } from 'typebox'
import { Count, ErrorReportSchema, Hex64, ModelId, Name, Range, Time } from './common.ts'
import { ModelManifest, Quant } from './model.ts'

/** What one rank holds of every layer, and of the vocabulary. Ranges are empty where a rank holds nothing. */
export const RankRanges = Type.Object({
  kvHeads: Range,
  heads: Range,
  ffn: Range,
  vocab: Range,
})
export type RankRanges = Type.Static<typeof RankRanges>

export const MemberState = Type.Union([Type.Literal('offline'), Type.Literal('waiting'), Type.Literal('loading'), Type.Literal('ready'), Type.Literal('failed')])
export type MemberState = Type.Static<typeof MemberState>

export const RingMember = Type.Object({
  deviceId: Hex64,
  name: Name,
  peerId: Type.String({ maxLength: 200 }),
  addresses: Type.Array(Type.String({ maxLength: 500 })),
  rank: Count,
  share: Type.Number({ exclusiveMinimum: 0 }),
  ranges: RankRanges,
})
export type RingMember = Type.Static<typeof RingMember>

/** One epoch of a ring, complete: what an agent needs to load its shard and find its peers. */
export const RingEpoch = Type.Object({
  ringId: Type.String({ maxLength: 100 }),
  poolId: Hex64,
  epoch: Type.Integer({ minimum: 1, maximum: 2 ** 32 - 1 }),
  model: ModelManifest,
  quant: Quant,
  members: Type.Array(RingMember, { minItems: 1 }),
})
export type RingEpoch = Type.Static<typeof RingEpoch>

export const RingStatus = Type.Union([Type.Literal('waiting'), Type.Literal('forming'), Type.Literal('active')])
export type RingStatus = Type.Static<typeof RingStatus>

/** What `mesh ring-status` shows. A device that wants to take part but is not in the epoch has no rank. */
export const RingView = Type.Object({
  ringId: Type.String(),
  poolId: Hex64,
  modelId: ModelId,
  revision: Hex64,
  quant: Quant,
  epoch: Count,
  status: RingStatus,
  reason: Type.String({ description: 'why it is not active; empty when it is' }),
  worldSize: Count,
  members: Type.Array(Type.Object({
    deviceId: Hex64,
    name: Name,
    state: MemberState,
    progress: Type.Number({ minimum: 0, maximum: 1 }),
    share: Type.Number(),
    error: Type.Optional(ErrorReportSchema),
    rank: Type.Optional(Count),
    leftNeighbor: Type.Optional(Hex64),
    rightNeighbor: Type.Optional(Hex64),
    ranges: Type.Optional(RankRanges),
  })),
  updatedAt: Time,
})
export type RingView = Type.Static<typeof RingView>

export const RingJoin = Type.Object({
  model: ModelManifest,
  quant: Quant,
  share: Type.Number({ exclusiveMinimum: 0, maximum: 1000 }),
}, { additionalProperties: false })
export type RingJoin = Type.Static<typeof RingJoin>
