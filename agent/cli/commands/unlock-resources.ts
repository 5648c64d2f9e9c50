import { readClock } from '../../device/elapsed.ts'
import { unlock } from '../../device/resource-lock.ts'
import { defineCommand } from '../command.ts'
import { commandLock, noteUnrecorded } from '../lock-session.ts'
import { fields } from '../render.ts'
import { LockChangeAnswer, readResources, resourceRows, resourcesAnswer } from '../resource-view.ts'
import { openSession } from '../session.ts'

export const unlockResources = defineCommand({
  name: 'unlock-resources',
  summary: 'take locked memory back: starts the cooldown, until whose end it stays committed',
  details:
    'The cooldown counts time that the machine runs or sleeps, whatever its clock is set to, ' +
    'and at most half of it for time that the machine is off. Repeating the command does not start it anew; ' +
    'mesh lock-resources with as much memory or more ends it.',
  options: ['controlPlane', 'controlPlaneKey', 'json'],
  examples: ['mesh unlock-resources'],
  json: LockChangeAnswer,
  run: async (context, values) => {
    const session = openSession(context, values)
    const change = await commandLock(context, session, (before) => unlock(before, readClock()))
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
