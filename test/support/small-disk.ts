/**
 * A disk of a few megabytes that a test can fill: a file system in memory, mounted for the test. Needs root and Linux.
 */
import { spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { afterwards, temporaryFolder } from './homes.ts'

type Context = Parameters<typeof afterwards>[0]

/** Why there can be none here; `false` where there can. For the option `skip` of a test. */
export const smallDiskImpossible = (): string | false => {
  if (process.platform !== 'linux') return 'mounting a file system in memory is a matter of Linux'
  return process.getuid?.() === 0 ? false : 'mounting needs root: sudo npm test -- full-disk'
}

export interface SmallDisk {
  readonly folder: string
  /** Takes all room that is left. */
  fill(): void
  /** Gives it back. */
  free(): void
}

/** An empty disk of that size; gone after the test, when what was started later has stopped. */
export const createSmallDisk = (t: Context, megabytes: number): SmallDisk => {
  const folder = join(temporaryFolder(t), 'disk')
  mkdirSync(folder)
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'mesh-test', folder], {
    encoding: 'utf8',
  })
  if (mounted.status !== 0) throw new Error(`mount: ${mounted.error?.message ?? mounted.stderr}`)
  // lazily: what still has a file open there may stop after this
  afterwards(t, () => {
    const { status, stderr } = spawnSync('umount', ['-l', folder], { encoding: 'utf8' })
    if (status !== 0) throw new Error(`umount ${folder}: ${stderr}`)
  })
  const filler = join(folder, 'filler')
  return {
    folder,
    fill: () => {
      const handle = openSync(filler, 'a')
      try {
        for (const bytes of [65_536, 4096, 64, 1]) writeUntilFull(handle, bytes)
      } finally {
        closeSync(handle)
      }
    },
    free: () => rmSync(filler, { force: true }),
  }
}

const writeUntilFull = (handle: number, bytes: number): void => {
  const piece = Buffer.alloc(bytes)
  try {
    for (;;) writeSync(handle, piece)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error
  }
}
