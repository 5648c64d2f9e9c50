/** What a clone of this tree would hold, and what was added to it. */
import { spawnSync } from 'node:child_process'

/** Files of a checkout that git knows or would take. @throws Error outside of one */
export const filesOf = (root: string): string[] => {
  const { stdout, status } = spawnSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  })
  if (status !== 0) throw new Error(`${root} is no checkout of git`)
  return [...new Set(stdout.split('\0').filter(Boolean))]
}
