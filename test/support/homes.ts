/** Temporary folders, and cleaning up in the right order. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

type Context = Pick<TestContext, 'after'>
type Action = () => unknown

const actionsOf = new WeakMap<Context, Action[]>()

/**
 * Does something after the test, the last registered first, and all of it even if one part fails: `t.after` alone
 * would remove the folder first and then stop the process that writes into it.
 */
export const afterwards = (t: Context, action: Action): void => {
  const known = actionsOf.get(t)
  if (known !== undefined) {
    known.push(action)
    return
  }
  const actions = [action]
  actionsOf.set(t, actions)
  t.after(async () => {
    const failures: unknown[] = []
    for (const next of actions.toReversed()) {
      try {
        await next()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0)
      throw new AggregateError(failures, `cleaning up failed: ${failures.map(String).join('; ')}`)
  })
}

const folders: string[] = []
const removeFolder = (folder: string): void => rmSync(folder, { recursive: true, force: true, maxRetries: 3 })

/** An empty folder; removed after the test, when what was started later has stopped. */
export const temporaryFolder = (t: Context): string => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-test-'))
  afterwards(t, () => removeFolder(folder))
  // once more at the end: something closed by `t.after` may have written into it since
  if (folders.push(folder) === 1) process.once('exit', () => folders.forEach(removeFolder))
  return folder
}
