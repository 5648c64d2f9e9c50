/** All targets, and how many of the cases each gets. */
import { openArena } from './arena.ts'
import { openFileTargets } from './file-targets.ts'
import { messageTargets } from './message-targets.ts'
import { openPlaneTargets } from './plane-targets.ts'
import { routeTargets } from './route-targets.ts'
import type { Target } from './run-cases.ts'
import { openSealedTargets } from './sealed-targets.ts'
import { textTargets } from './text-targets.ts'
import { wireTargets } from './wire-targets.ts'

export interface Targets {
  readonly targets: readonly Target[]
  stop(): Promise<void>
}

export const openTargets = async (): Promise<Targets> => {
  const arena = await openArena()
  const messages = messageTargets(arena)
  const files = openFileTargets()
  const plane = await openPlaneTargets()
  const sealed = await openSealedTargets()
  return {
    targets: [
      ...wireTargets,
      ...textTargets,
      ...sealed,
      ...files.targets,
      ...routeTargets(arena),
      ...messages.targets,
      ...plane.targets,
    ],
    stop: async () => {
      messages.close()
      await plane.close()
      files.remove()
      await arena.stop()
    },
  }
}

/**
 * Weight by how a name begins, the first that fits: what costs a hundredth of a millisecond gets more than what costs
 * two.
 */
const weights: readonly (readonly [string, number])[] = [
  ['exported keys', 0.02],
  ['CBOR ', 6],
  ['frames', 6],
  ['messages of agents', 12],
  ['events', 4],
  ['answers', 6],
  ['command lines', 1],
  ['file tokenizer.json', 0.4],
  ['file ', 0.8],
  ['route ', 2],
  ['', 4],
]

/** The number of cases for each target; those of all of them together are `cases`, or a few more. */
export const sharesOf = (targets: readonly Target[], cases: number): (readonly [Target, number])[] => {
  const weighed = targets.map(
    (target) => [target, weights.find(([begin]) => target.name.startsWith(begin))?.[1] ?? 1] as const,
  )
  const sum = weighed.reduce((total, [, weight]) => total + weight, 0)
  return weighed.map(([target, weight]) => [target, Math.ceil((cases * weight) / sum)])
}
