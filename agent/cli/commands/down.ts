import { Type } from 'typebox'
import { Count } from '../../../shared/schema/common.ts'
import { formatDuration } from '../../../shared/words.ts'
import { defineCommand } from '../command.ts'
import { findRunning, stopService } from '../stop-service.ts'

export const down = defineCommand({
  name: 'down',
  summary: 'stop what runs from this home: mesh up or mesh start, in the background or in another terminal',
  details:
    'Ends exactly the processes that belong to this MESHNET_HOME, in order, and waits until they are gone. ' +
    'What is installed as a service (mesh service install) ' +
    'starts again with the next login or start of the machine.',
  options: ['json'],
  examples: ['mesh down'],
  json: Type.Object({ stopped: Type.Boolean({ description: 'false: nothing ran' }), pid: Type.Optional(Count) }),
  run: async (context, values) => {
    const startedAt = context.now()
    const running = findRunning(context)
    if (running) await stopService(context, running)
    if (values.json) context.printJson({ stopped: running !== undefined, pid: running?.pid })
    else
      context.stdout.write(
        running
          ? `stopped ${running.what}, after ${formatDuration(context.now() - startedAt)}\n`
          : `nothing runs from ${context.home.root}\n`,
      )
  },
})
