/** Waiting for the ready line of a program that was just started. */
import { MeshError } from '../../shared/errors.ts'
import { withTimeout } from '../../shared/with-timeout.ts'
import { formatDuration } from '../../shared/words.ts'
import type { ManagedProcess } from './managed-process.ts'
import { lastWords } from './process-output.ts'

/** @returns its ready line; @throws MeshError `processEnded` when there is none after `ms`, or it ended */
export const untilReady = (
  { name, ready, tail }: Pick<ManagedProcess, 'name' | 'ready' | 'tail'>,
  ms: number,
): Promise<Record<string, unknown>> =>
  withTimeout(ready, ms, () => {
    throw new MeshError('processEnded', {
      name,
      how: `not ready within ${formatDuration(ms)}`,
      problem: lastWords(tail()),
    })
  })
