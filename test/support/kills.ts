/** kill -9 at random moments that a seed decides, for the tests of what a killed process leaves behind. */
import { spawn } from 'node:child_process'
import type { TestContext } from 'node:test'
import { environmentFor } from '../../shared/options.ts'
import { afterwards } from './homes.ts'

export const seed = 20261121

export interface Killed {
  readonly code: number | null
  readonly stdout: string
  readonly ms: number
}

export interface KillTime {
  readonly afterMs: number
  /** Counted from its first line on stdout or stderr, not from its start. */
  readonly from?: 'stdout' | 'stderr'
}

/** Runs a program and kills it, unless it ends before. `code` is null when it was killed. */
export const runUntilKilled = (
  t: TestContext,
  args: readonly string[],
  home: string,
  { afterMs, from }: KillTime,
): Promise<Killed> =>
  new Promise((resolve, reject) => {
    const startedAt = performance.now()
    const child = spawn(process.execPath, [...args], { env: environmentFor(home), stdio: ['ignore', 'pipe', 'pipe'] })
    afterwards(t, () => child.kill('SIGKILL'))
    let stdout = ''
    let timer: NodeJS.Timeout | undefined
    const arm = (): void => void (timer ??= setTimeout(() => child.kill('SIGKILL'), afterMs))
    if (from === undefined) arm()
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8').on('data', (part: string) => {
        if (stream === 'stdout') stdout += part
        if (stream === from) arm()
      })
    }
    child.on('error', reject)
    child.on('close', (code) => {
      clearTimeout(timer)
      resolve({ code, stdout, ms: performance.now() - startedAt })
    })
  })
