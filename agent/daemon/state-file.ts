/** Writes what the agent says of itself to its home, for `mesh status` and `mesh shard-status`. */
import { rmSync } from 'node:fs'
import { type FolderLock, lockOrHolder } from '../../shared/folder-lock.ts'
import { type Home, writeStateJson } from '../../shared/home.ts'
import { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { AgentRing, AgentState } from '../../shared/schema/agent-state.ts'
import type { RingTrial } from './ring-trial.ts'
import type { SessionView } from './ring-session.ts'

/** Changes that come within this time are written once. */
const settleMs = 100

/** This home is ours until the lock is released. @throws MeshError `agentAlreadyRunning` | `stateUnwritable` */
export const lockHome = async (home: Home): Promise<FolderLock> => {
  const found = await lockOrHolder(home.agentLock)
  if ('release' in found) return found
  throw new MeshError('agentAlreadyRunning', { home: home.root, pid: found.pid })
}

export const ringStateOf = ({
  ring,
  member,
  state,
  progress,
  loading,
  loaded,
  error,
}: Pick<SessionView, 'ring' | 'member' | 'state' | 'progress' | 'loading' | 'loaded' | 'error'>): AgentRing => ({
  ringId: ring.ringId,
  poolId: ring.poolId,
  modelId: ring.model.modelId,
  epoch: ring.epoch,
  rank: member.rank,
  worldSize: ring.members.length,
  state: state === 'closed' ? 'offline' : state,
  progress,
  ...(loading ? { loading } : {}),
  backend: loaded?.backend.name ?? '',
  quant: ring.quant,
  ranges: member.ranges,
  shardBytes: loaded?.shard.bytes ?? 0,
  shardFolder: loaded?.shard.folder ?? '',
  ...(loaded?.shard.held ? { weights: [...loaded.shard.held] } : {}),
  ...(error ? { error: error.toReport() } : {}),
})

/** A trial as a ring that is not there yet. */
export const trialStateOf = ({ ring, member, view: { state, progress, loading, error } }: RingTrial): AgentRing => ({
  ...ringStateOf({
    ring,
    member,
    state: state === 'ready' ? 'loading' : state,
    progress,
    loading,
    loaded: undefined,
    error,
  }),
  ...(state === 'ready' ? { state: 'waiting' } : {}),
})

export interface StateFile {
  readonly name: string
  /** Writes at once: who is told that the agent is ready finds it. */
  write(): void
  /** Something changed: write soon. */
  touch(): void
  stop(): void
}

export const createStateFile = (home: Home, read: () => AgentState, logger: Logger): StateFile => {
  let timer: NodeJS.Timeout | undefined
  let stopped = false
  const write = (): void => {
    clearTimeout(timer)
    timer = undefined
    try {
      writeStateJson(home.agentState, read())
    } catch (error) {
      logger.warn(MeshError.from(error).message) // a full disk must not end the agent
    }
  }
  return {
    name: 'state file',
    write,
    touch: () => {
      if (!stopped) timer ??= setTimeout(write, settleMs)
    },
    stop: () => {
      stopped = true
      clearTimeout(timer)
      rmSync(home.agentState, { force: true })
    },
  }
}
