/** What the running agent says of itself, in a file under its home: `mesh status` and `mesh shard-status` read it. */
import { Type } from 'typebox'
import { Count, ErrorReportSchema, Hex64, ModelId, Time } from './common.ts'
import { HeldMatrices, Quant } from './model.ts'
import { Loading, MemberState, RankRanges } from './ring.ts'

export const AgentRing = Type.Object({
  ringId: Type.String(),
  poolId: Hex64,
  modelId: ModelId,
  epoch: Count,
  rank: Count,
  worldSize: Count,
  state: MemberState,
  /** Of loading the shard, 0 to 1. */
  progress: Type.Number({ minimum: 0, maximum: 1 }),
  loading: Type.Optional(Loading),
  backend: Type.String(),
  quant: Quant,
  ranges: RankRanges,
  /** Size of the quantised shard; 0 until it is known. */
  shardBytes: Count,
  shardFolder: Type.String(),
  /** Of a shard that keeps the bits of its file. */
  weights: Type.Optional(Type.Array(HeldMatrices)),
  error: Type.Optional(ErrorReportSchema),
})
export type AgentRing = Type.Static<typeof AgentRing>

/** A ring that goes on without this device. */
export const AgentLeftOut = Type.Object({
  ringId: Type.String(),
  poolId: Hex64,
  modelId: ModelId,
  error: ErrorReportSchema,
  /** When it is tried again. */
  retryAt: Time,
})
export type AgentLeftOut = Type.Static<typeof AgentLeftOut>

export const AgentState = Type.Object({
  pid: Type.Integer({ minimum: 1 }),
  /** Tells this process from a later one of the same id; absent where the system does not tell. */
  mark: Type.Optional(Type.String()),
  startedAt: Time,
  updatedAt: Time,
  version: Type.String(),
  deviceId: Hex64,
  peerId: Type.String(),
  addresses: Type.Array(Type.String()),
  /** `since`: when the connection came up or went away. */
  controlPlane: Type.Object({
    url: Type.String(),
    connected: Type.Boolean(),
    since: Time,
    problem: Type.Optional(Type.String({ description: 'why it is not connected' })),
  }),
  /** Devices that speak another version than this one: what each side speaks, and who must update. */
  otherVersions: Type.Optional(Type.Array(Type.Object({ message: Type.String(), hint: Type.String(), at: Time }))),
  relays: Type.Array(
    Type.Object({ address: Type.String(), reserved: Type.Boolean(), problem: Type.Optional(Type.String()) }),
  ),
  rings: Type.Array(AgentRing),
  /** Absent in files of older versions. */
  leftOut: Type.Optional(Type.Array(AgentLeftOut)),
  /** What the agent measured last; absent in files of older versions. */
  memory: Type.Optional(
    Type.Object({
      limitBytes: Count,
      availableBytes: Count,
      /** Held by the agent and its processes. */
      heldBytes: Count,
      limitedBy: Type.String(),
      /** Lacking to keep the memory lock; above 0: degraded. */
      missingBytes: Count,
    }),
  ),
  /** Counts since the agent started; a job counts on every rank that took part. */
  jobs: Type.Object({ running: Count, done: Count, failed: Count }),
})
export type AgentState = Type.Static<typeof AgentState>
