/** What a backend must do over time. In a process of its own: pages that other checks freed would hide what leaks. */
import assert from 'node:assert/strict'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { childrenOf, readProc } from '../../../test/support/leftovers.ts'
import { type Check, engineOver, text, withBackend } from './contract-subject.ts'

/**
 * Steps in which memory must not grow by more than `growthBytes`: less than the logits of each step (64 KB) come to.
 * Medians of many readings are compared, for garbage that waits for its collection makes single ones differ by 30 MB.
 */
const memorySteps = 1000
const growthBytes = 35e6

/** Collects the garbage of this thread, so that what is left is in use. */
const collectGarbage = (): void => {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
}

/** Of this process and those it started. */
const residentBytes = (): number =>
  [process.pid, ...childrenOf(process.pid)].reduce(
    (sum, pid) => sum + 1024 * Number(/VmRSS:\s+(\d+)/.exec(readProc(pid, 'status'))?.[1] ?? 0),
    0,
  )

/** Prompts and written tokens of four sequences, again and again. @throws AssertionError when memory grows with them */
export const checkMemory: Check = withBackend(async (subject, backend) => {
  const { engine, last } = engineOver(subject, backend)
  const slots = [0, 1, 2, 3]
  const cycle = 5
  const medianOver = async (count: number): Promise<number> => {
    const readings: number[] = []
    for (let i = 0; i < count; i++) {
      if (i % cycle === 0) for (const slot of slots) await engine.release(slot)
      await last(
        ...slots.map((slot) =>
          i % cycle === 0
            ? { slot, position: 0, tokens: text(50, slot) }
            : { slot, position: 49 + (i % cycle), tokens: [i % 100] },
        ),
      )
      if (i % 20 !== 0) continue
      collectGarbage()
      readings.push(residentBytes())
    }
    return readings.toSorted((a, b) => a - b)[readings.length >> 1]
  }
  await medianOver(memorySteps / 4)
  const sizes = [await medianOver(memorySteps), await medianOver(memorySteps)]
  const grown = (): number => sizes.at(-1)! - sizes.at(-2)!
  // a leak goes on; a heap that took one more step does not
  if (grown() >= growthBytes) sizes.push(await medianOver(memorySteps))
  assert.ok(grown() < growthBytes, `MB over time: ${sizes.map((bytes) => (bytes / 1e6).toFixed(0)).join(', ')}`)
})
