/** Runs one target through many cases: none may fail, cost much, or leave memory behind. */
import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'

/** One thing that reads what others wrote. */
export interface Target<Case = unknown> {
  readonly name: string
  readonly cases: fc.Arbitrary<Case>
  /**
   * Hands one case over. A refusal is right; what it throws is a fault.
   * @returns what became of it, for the count: `taken`, or the code of the refusal
   */
  run(value: Case): Promise<string> | string
  /** It takes long on purpose: a passphrase is made expensive to guess. */
  readonly isSlow?: boolean
}

export const anyTarget = <Case>(target: Target<Case>): Target => target as unknown as Target

/** Processor milliseconds that one call may take. */
export const mostMs = 50
/** How often a call that took longer is made again: the machine does other things too, and collects garbage. */
const again = 8
/** Bytes that all targets together may hold after many more cases of each: what caches take is taken by then. */
export const mostKeptBytes = 8 * 2 ** 20

export interface Outcome {
  readonly cases: number
  /** How often each outcome was seen. */
  readonly outcomes: ReadonlyMap<string, number>
  readonly longestMs: number
}

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Bytes of objects and buffers that somebody still holds. */
export const heldBytes = async (): Promise<number> => {
  collect()
  await setImmediate() // what was waiting to be let go
  collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

const processorMs = async (act: () => Promise<unknown> | unknown): Promise<number> => {
  const before = process.cpuUsage()
  await act()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

/** Printed with a failure, so that it can be seen again. */
export class Fault extends Error {
  constructor(name: string, seed: number, cause: string) {
    super(`${name}: ${cause}\nagain: npm run fuzz -- --only '${name}' --seed ${seed}`)
  }
}

/** @throws Fault when a case ends otherwise than by an answer or a refusal, or takes too long */
export const runCases = async (
  target: Target,
  { cases, seed }: { readonly cases: number; readonly seed: number },
): Promise<Outcome> => {
  const outcomes = new Map<string, number>()
  let longestMs = 0
  const attempt = (value: unknown): Promise<number> =>
    processorMs(async () => {
      const outcome = await target.run(value)
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    })
  const one = async (value: unknown): Promise<void> => {
    let tookMs = await attempt(value)
    if (target.isSlow) return
    for (let round = 0; round < again && tookMs > mostMs; round++) tookMs = Math.min(tookMs, await attempt(value))
    longestMs = Math.max(longestMs, tookMs)
    if (tookMs > mostMs) throw new Error(`a call took ${tookMs.toFixed(0)} ms of processor, ${mostMs} are allowed`)
  }
  const result = await fc.check(fc.asyncProperty(target.cases, one), { seed, numRuns: cases })
  if (!result.failed) return { cases, outcomes, longestMs }
  const problem = result.errorInstance instanceof Error ? result.errorInstance.message : ''
  throw new Fault(
    target.name,
    seed,
    `${problem}\n${fc.defaultReportMessage(result as unknown as fc.RunDetails<unknown[]>) ?? ''}`,
  )
}
