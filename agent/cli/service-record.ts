/**
 * What runs from a home as a whole: `mesh up` or `mesh start`, in a terminal or in the background. The process writes
 * it down while it runs, for `mesh status`, for `mesh down`, and for a second start that then has nothing to do.
 */
import { rmSync } from 'node:fs'
import { Type } from 'typebox'
import { MeshError } from '../../shared/errors.ts'
import { lockOrHolder } from '../../shared/folder-lock.ts'
import { type Home, writeState } from '../../shared/home.ts'
import { isSameProcessAlive, processMark } from '../../shared/process-alive.ts'
import { Time } from '../../shared/schema/common.ts'
import { readChecked } from '../device/checked-state.ts'
import type { CommandContext } from './command.ts'

export const ServiceRecord = Type.Object({
  pid: Type.Integer({ minimum: 1 }),
  /** Tells this process from a later one of the same id; absent where the system does not tell. */
  mark: Type.Optional(Type.String()),
  command: Type.Union([Type.Literal('up'), Type.Literal('start')]),
  /** Nothing holds a terminal. */
  background: Type.Boolean(),
  startedAt: Time,
  /** Its ready line; absent while it starts. */
  info: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
})
export type ServiceRecord = Type.Static<typeof ServiceRecord>

/** What runs from this home now; a damaged file says nothing about that. */
export const findService = (home: Home): ServiceRecord | undefined => {
  let record: ServiceRecord | undefined
  try {
    record = readChecked(home.service, ServiceRecord)
  } catch {
    return undefined
  }
  return record !== undefined && isSameProcessAlive(record) ? record : undefined
}

/** `mesh up in the background, process 123` */
export const serviceText = ({ command, background, pid }: ServiceRecord): string =>
  `mesh ${command} ${background ? 'in the background' : 'in a terminal'}, process ${pid}`

export interface Claim {
  /** It runs: its ready line, also for whoever waits for it. */
  ready(info: object): void
  release(): void
}

/**
 * This process runs the service of this home from now on. The agent that `mesh up` starts is part of that and claims
 * nothing.
 * @throws MeshError `agentAlreadyRunning` | `stateUnwritable`
 */
export const claimService = async (context: CommandContext, command: ServiceRecord['command']): Promise<Claim> => {
  const { home, background, now } = context
  const other = findService(home)
  if (other?.pid === process.ppid) return { ready: () => undefined, release: () => undefined }
  const lock = await lockOrHolder(home.serviceLock)
  if ('pid' in lock) throw new MeshError('agentAlreadyRunning', { home: home.root, pid: lock.pid })
  const record: ServiceRecord = {
    pid: process.pid,
    mark: processMark(process.pid),
    command,
    background: background !== undefined,
    startedAt: now(),
  }
  // its ready line may hold an invite
  const write = (content: ServiceRecord): void =>
    writeState(home.service, `${JSON.stringify(content, null, 2)}\n`, 0o600)
  write(record)
  return {
    ready: (info) => {
      write({ ...record, info: { ...info } })
      background?.ready(info)
    },
    release: () => {
      rmSync(home.service, { force: true })
      lock.release()
    },
  }
}
