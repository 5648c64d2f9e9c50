/** Ends what runs from a home: that process and no other. */
import { MeshError, systemCodeOf } from '../../shared/errors.ts'
import { isSameProcessAlive } from '../../shared/process-alive.ts'
import { formatDuration } from '../../shared/words.ts'
import type { CommandContext } from './command.ts'
import { findService, serviceText } from './service-record.ts'
import { poll, readAgentState } from './session.ts'

/** Milliseconds that everything may take to stop in order: an agent that holds a model needs the most. */
const stopMs = 45_000
/** Milliseconds that the operating system needs to end a process that is not asked. */
const killMs = 5000

export interface RunningService {
  readonly pid: number
  readonly mark?: string
  /** For people. */
  readonly what: string
}

/** What runs from this home: `mesh up`, `mesh start`, or an agent that another program started. */
export const findRunning = ({ home }: Pick<CommandContext, 'home'>): RunningService | undefined => {
  const service = findService(home)
  if (service) return { ...service, what: serviceText(service) }
  const agent = readAgentState(home)
  return agent && { ...agent, what: `the agent, process ${agent.pid}` }
}

/** @throws MeshError `processForeign` */
const signal = ({ pid }: RunningService, name: NodeJS.Signals): void => {
  try {
    process.kill(pid, name)
  } catch (error) {
    if (systemCodeOf(error) === 'EPERM') throw new MeshError('processForeign', { pid }, error)
    // it ended meanwhile
  }
}

const isGone = (context: CommandContext, running: RunningService, waitMs: number): Promise<true | undefined> =>
  poll(async () => (isSameProcessAlive(running) ? undefined : (true as const)), { waitMs, everyMs: 50, context })

/**
 * Asks it to stop and waits until it is gone; one that does not stop is ended.
 * @throws MeshError `processForeign` | `processStuck`
 */
export const stopService = async (context: CommandContext, running: RunningService): Promise<void> => {
  signal(running, 'SIGTERM')
  if (await isGone(context, running, stopMs)) return
  context.stderr.write(`${running.what} did not stop within ${formatDuration(stopMs)}; ending it\n`)
  signal(running, 'SIGKILL') // what it started ends when it is gone
  if (!(await isGone(context, running, killMs))) throw new MeshError('processStuck', { pid: running.pid })
}
