import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { Count } from '../../../shared/schema/common.ts'
import { formatDuration } from '../../../shared/units.ts'
import { isSameProcessAlive } from '../../../shared/process-alive.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { findService, serviceText } from '../service-record.ts'
import { poll, readAgentState } from '../session.ts'

/** Milliseconds that everything may take to stop in order: an agent that holds a model needs the most. */
const stopMs = 45_000
/** Milliseconds that the operating system needs to end a process that is not asked. */
const killMs = 5000

interface Running {
  readonly pid: number
  readonly mark?: string
  readonly what: string
}

/** What runs from this home: `mesh up`, `mesh start`, or an agent that somebody else's program started. */
const findRunning = ({ home }: CommandContext): Running | undefined => {
  const service = findService(home)
  if (service) return { ...service, what: serviceText(service) }
  const agent = readAgentState(home)
  return agent && { ...agent, what: `the agent, process ${agent.pid}` }
}

/** @throws MeshError `processForeign` */
const signal = ({ pid }: Running, name: NodeJS.Signals): void => {
  try {
    process.kill(pid, name)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EPERM') throw new MeshError('processForeign', { pid }, error)
    // it ended meanwhile
  }
}

const isGone = (context: CommandContext, running: Running, waitMs: number): Promise<true | undefined> =>
  poll(async () => (isSameProcessAlive(running) ? undefined : (true as const)), { waitMs, everyMs: 50, context })

export const down = defineCommand({
  name: 'down',
  summary: 'stop what runs from this home: mesh up or mesh start, in the background or in another terminal',
  details: 'Ends exactly the processes that belong to this MESHNET_HOME, in order, and waits until they are gone. What is installed as a service (mesh service install) starts again with the machine.',
  options: ['json'],
  examples: ['mesh down'],
  json: Type.Object({ stopped: Type.Boolean({ description: 'false: nothing ran' }), pid: Type.Optional(Count) }),
  run: async (context, values) => {
    const startedAt = context.now()
    const running = findRunning(context)
    const done = (stopped: boolean, text: string): void => {
      if (values.json) context.printJson({ stopped, pid: running?.pid })
      else context.stdout.write(`${text}\n`)
    }
    if (running === undefined) return done(false, `nothing runs from ${context.home.root}`)
    signal(running, 'SIGTERM')
    if (!(await isGone(context, running, stopMs))) {
      context.stderr.write(`${running.what} did not stop within ${formatDuration(stopMs)}; ending it\n`)
      signal(running, 'SIGKILL') // what it started ends when it is gone
      if (!(await isGone(context, running, killMs))) throw new MeshError('processStuck', { pid: running.pid })
    }
    return done(true, `stopped ${running.what}, after ${formatDuration(context.now() - startedAt)}`)
  },
})
