/** Waiting for the ready line of a program that was just started. */
import { MeshError } from '../../shared/errors.ts'
import { withTimeout } from '../../shared/with-timeout.ts'
import { formatDuration } from '../../shared/words.ts'
import type { ManagedProcess } from './managed-process.ts'
import { lastWords } from './process-output.ts'

/** It ended, or may as well have: with its last words. */
export const processEnded = (process: Pick<ManagedProcess, 'name' | 'tail'>, how: string): MeshError =>
  new MeshError('processEnded', { name: process.name, how, problem: lastWords(process.tail()) })

/** @returns its ready line; @throws MeshError `processEnded` when there is none after `ms`, or it ended */
export const untilReady = (
  process: Pick<ManagedProcess, 'name' | 'ready' | 'tail'>,
  ms: number,
): Promise<Record<string, unknown>> =>
  withTimeout(process.ready, ms, () => {
    throw processEnded(process, `not ready within ${formatDuration(ms)}`)
  })
