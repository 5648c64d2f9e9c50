import { MeshError } from '../../../shared/errors.ts'
import { formatBytes } from '../../../shared/words.ts'
import { lock } from '../../device/resource-lock.ts'
import { defineCommand } from '../command.ts'
import { commandLock, noteUnrecorded } from '../lock-session.ts'
import { fields } from '../render.ts'
import { LockChangeAnswer, readResources, type Resources, resourceRows, resourcesAnswer } from '../resource-view.ts'
import { openSession } from '../session.ts'

/** Only what is really there can be committed; what is committed already was there once and is not asked again. */
const checkMemory = ({ standing, memory, obtainable }: Resources, memoryBytes: number): void => {
  if (memoryBytes <= standing.memoryBytes) return
  const wanted = formatBytes(memoryBytes)
  if (memoryBytes > memory.limitBytes)
    throw new MeshError('memoryShort', { wanted, problem: `${memory.limitedBy} has ${formatBytes(memory.limitBytes)}` })
  if (memoryBytes > obtainable)
    throw new MeshError('memoryShort', {
      wanted,
      problem: `${formatBytes(obtainable)} of ${formatBytes(memory.limitBytes)} are available now`,
    })
}

export const lockResources = defineCommand({
  name: 'lock-resources',
  summary: 'commit memory of this device to its pools: never more is placed on it, and it cannot be taken back at once',
  details:
    'A lock can grow at any time. To take it back use mesh unlock-resources: ' +
    'it stays committed until the cooldown is over. 7 % of it stay free as a buffer.',
  options: ['memory', 'cooldown', 'controlPlane', 'controlPlaneKey', 'json'],
  required: ['memory'],
  examples: ['mesh lock-resources --memory 7GB', 'mesh lock-resources --memory 12GiB --cooldown 48h'],
  json: LockChangeAnswer,
  run: async (context, values) => {
    const session = openSession(context, values)
    const change = await commandLock(context, session, (before) => {
      const resources = readResources(context.home, session.device)
      const after = lock(before, { memoryBytes: values.memory, cooldownMs: values.cooldown }, resources.clock)
      checkMemory(resources, values.memory)
      return after
    })
    const resources = readResources(context.home, session.device)
    if (values.json)
      context.printJson({
        ...resourcesAnswer(resources),
        changed: change.changed,
        recorded: change.unrecorded === undefined,
      })
    else context.stdout.write(fields(resourceRows(resources), context.stdout.columns))
    noteUnrecorded(context, change)
  },
})
