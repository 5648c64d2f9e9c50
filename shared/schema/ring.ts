/** A ring: the devices of a pool that serve one model together. Any change of members makes a new epoch. */
import { Type } from 'typebox'
import { limits } from '../limits.ts'
import { Count, ErrorReportSchema, Hex64, ModelId, Name, Range, Time } from './common.ts'
import { ModelManifest, Quant } from './model.ts'
import { CertificateText } from './pool.ts'

/** What one rank holds of every layer, and of the vocabulary. Ranges are empty where a rank holds nothing. */
export const RankRanges = Type.Object({
  kvHeads: Range,
  heads: Range,
  ffn: Range,
  vocab: Range,
  /** Of further dimensions that the model is cut in (`parts` of its shape), by name. */
  parts: Type.Optional(Type.Record(Type.String({ maxLength: 100 }), Range)),
})
export type RankRanges = Type.Static<typeof RankRanges>

export const MemberState = Type.Union([
  Type.Literal('offline'),
  Type.Literal('waiting'),
  Type.Literal('loading'),
  Type.Literal('ready'),
  Type.Literal('failed'),
])
export type MemberState = Type.Static<typeof MemberState>

export const RingMember = Type.Object({
  deviceId: Hex64,
  name: Name,
  peerId: Type.String({ maxLength: 200 }),
  addresses: Type.Array(Type.String({ maxLength: 500 })),
  rank: Count,
  share: Type.Number({ exclusiveMinimum: 0 }),
  ranges: RankRanges,
  /** Bytes planned for this rank, all in; absent in epochs of older versions. */
  bytes: Type.Optional(Count),
  /** Tokens of context for which every rank has room, the same on all; absent: that of the model. */
  context: Type.Optional(Count),
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

/** How the ranks of a ring can sum their parts. */
export const Algorithm = Type.Union([Type.Literal('ring'), Type.Literal('direct'), Type.Literal('recursive-doubling')])
export type Algorithm = Type.Static<typeof Algorithm>

/** `auto`: by predicted time, for each message. */
export const CollectiveChoice = Type.Union([Type.Literal('auto'), ...Algorithm.anyOf])
export type CollectiveChoice = Type.Static<typeof CollectiveChoice>

/** Whether a connection leads straight to the other device, or over a relay. */
export const LinkPath = Type.Union([Type.Literal('direct'), Type.Literal('relayed')])
export type LinkPath = Type.Static<typeof LinkPath>

/**
 * What carries the sums of a ring: streams of libp2p, or sockets of their own from where one rank computes to where
 * another one does.
 */
export const Carrier = Type.Union([Type.Literal('streams'), Type.Literal('sockets')])
export type Carrier = Type.Static<typeof Carrier>

const linkFigures = {
  roundTripMs: Type.Number({ exclusiveMinimum: 0, maximum: 3600e3 }),
  bytesPerSecond: Type.Number({
    exclusiveMinimum: 0,
    maximum: 1e12,
    description: 'each way, with data going both ways at once',
  }),
}

/** What the link of two ranks costs, as the lower rank measured it when the epoch formed. */
export const RingLink = Type.Object({
  from: Count,
  to: Count,
  ...linkFigures,
  measured: Type.Boolean({ description: 'false: it could not be measured, and a local network is assumed' }),
  path: Type.Optional(LinkPath),
})
export type RingLink = Type.Static<typeof RingLink>

/** Every link of an epoch, by lower rank, then by higher. */
export const RingLinkTable = Type.Array(RingLink, { maxItems: (limits.worldSize * (limits.worldSize - 1)) / 2 })

const Choice = Type.Object({ bytes: Count, algorithm: Algorithm })

/** The links of an epoch and what rank 0 makes of them. */
export const RingNetwork = Type.Object({
  links: RingLinkTable,
  slowest: Type.Object(linkFigures, {
    description: 'longest round trip and lowest bandwidth: what all ranks reckon with',
  }),
  collective: CollectiveChoice,
  carrier: Type.Optional(Carrier),
  streamsReason: Type.Optional(
    Type.String({ maxLength: 500, description: 'why sockets could not be opened, or are given up' }),
  ),
  decode: Choice,
  prefill: Choice,
})
export type RingNetwork = Type.Static<typeof RingNetwork>

/**
 * What a device does before it is ready: reads the files of the model whole to know them; makes its shard, or checks
 * the one it has; gives it to the backend; links to its peers.
 */
export const LoadPhase = Type.Union([
  Type.Literal('checking'),
  Type.Literal('cutting'),
  Type.Literal('quantising'),
  Type.Literal('hashing'),
  Type.Literal('loading'),
  Type.Literal('linking'),
])
export type LoadPhase = Type.Static<typeof LoadPhase>

/** How far a phase is, in bytes of the shard. */
export const Loading = Type.Object({
  phase: LoadPhase,
  bytes: Count,
  totalBytes: Count,
  missing: Type.Optional(
    Type.Array(Count, {
      maxItems: limits.worldSize,
      description: 'while it links: ranks to which there is no link yet',
    }),
  ),
})
export type Loading = Type.Static<typeof Loading>

/** What one rank found out about the sums of another one by spot checks, in this epoch. */
export const RankCheck = Type.Object({
  rank: Count,
  checks: Count,
  wrong: Count,
  worst: Type.Number({ minimum: 0, description: 'largest error, as a fraction of the norm' }),
  isWrong: Type.Boolean({ description: 'enough checks were wrong to say so' }),
  jobs: Type.Array(Type.String({ maxLength: 100 }), {
    maxItems: 16,
    description: 'in which it was found wrong, the newest last',
  }),
  unseen: Type.Optional(Count),
  problem: Type.Optional(Type.String({ maxLength: 500, description: 'why it cannot be checked' })),
})
export type RankCheck = Type.Static<typeof RankCheck>

/** `unchecked`: nobody checked them yet, or can. `disputed`: said to be wrong, by too few to know who is. */
export const SumVerdict = Type.Union([
  Type.Literal('unchecked'),
  Type.Literal('right'),
  Type.Literal('disputed'),
  Type.Literal('wrong'),
])
export type SumVerdict = Type.Static<typeof SumVerdict>

/** What the spot checks of others say about the sums of a member. */
export const MemberSums = Type.Object({
  verdict: SumVerdict,
  checks: Count,
  wrong: Count,
  worst: Type.Number({ description: 'largest error, as a fraction of the norm' }),
  accusers: Type.Array(Type.Object({ deviceId: Hex64, name: Name }), { description: 'who found them wrong' }),
  problem: Type.Optional(Type.String({ description: 'why they cannot be checked' })),
  foundAt: Type.Optional(Time),
})
export type MemberSums = Type.Static<typeof MemberSums>

/** Base64url of the statement in `sealed/sealing-key.ts`. */
export const SealingKeyText = Type.String({ minLength: 1, maxLength: 1000, pattern: '^[A-Za-z0-9_-]+$' })

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
  members: Type.Array(
    Type.Object({
      deviceId: Hex64,
      name: Name,
      state: MemberState,
      progress: Type.Number({ minimum: 0, maximum: 1 }),
      loading: Type.Optional(Loading),
      share: Type.Number(),
      error: Type.Optional(ErrorReportSchema),
      leftOut: Type.Optional(
        Type.Object(
          { since: Time, retryAt: Time },
          { description: 'the others go on without it; when it is tried again' },
        ),
      ),
      rank: Type.Optional(Count),
      leftNeighbor: Type.Optional(Hex64),
      rightNeighbor: Type.Optional(Hex64),
      ranges: Type.Optional(RankRanges),
      sums: Type.Optional(MemberSums),
    }),
  ),
  network: Type.Optional(RingNetwork),
  /** Of rank 0 of an active epoch: the key that prompts may be sealed with, and the certificate of its device. */
  sealing: Type.Optional(Type.Object({ key: SealingKeyText, certificate: CertificateText })),
  updatedAt: Time,
})
export type RingView = Type.Static<typeof RingView>

export const RingJoin = Type.Object(
  {
    model: ModelManifest,
    quant: Quant,
    share: Type.Number({ exclusiveMinimum: 0, maximum: 1000 }),
  },
  { additionalProperties: false },
)
export type RingJoin = Type.Static<typeof RingJoin>
