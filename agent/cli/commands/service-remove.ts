import { existsSync, rmSync } from 'node:fs'
import { Type } from 'typebox'
import { MeshError, problemOf } from '../../../shared/errors.ts'
import { defineCommand } from '../command.ts'
import { runAll } from '../service-manager.ts'
import { serviceOfHome } from '../service-of-home.ts'
import { findRunning, stopService } from '../stop-service.ts'

const removeFile = (file: string): void => {
  try {
    rmSync(file, { force: true })
  } catch (error) {
    throw new MeshError('stateUnwritable', { file, problem: problemOf(error) }, error)
  }
}

export const serviceRemove = defineCommand({
  name: 'service-remove',
  summary: 'stop the service of this MESHNET_HOME and remove it (also: mesh service remove)',
  details: 'Undoes mesh service-install; --system where that was given. Keys, pools and models stay.',
  options: ['system', 'json'],
  examples: ['mesh service-remove', 'mesh service-remove --system'],
  json: Type.Object({ file: Type.String(), removed: Type.Boolean({ description: 'false: none was installed' }) }),
  run: async (context, values) => {
    const plan = serviceOfHome(context.home, { args: [], system: values.system })
    const { file, remove } = plan
    const removed = existsSync(file)
    if (removed) {
      try {
        runAll(remove.before, plan)
      } finally {
        removeFile(file) // nothing starts it again, whatever the system says
      }
      runAll(remove.after, plan)
      // the task scheduler of Windows ends what it started, and not what that started
      const running = process.platform === 'win32' ? findRunning(context) : undefined
      if (running) await stopService(context, running)
    }
    if (values.json) context.printJson({ file, removed })
    else
      context.stdout.write(
        removed
          ? `stopped and removed ${file}\n`
          : `no service is installed for ${context.home.root}: ${file} is not there\n`,
      )
  },
})
