/** Greedy text of the engine, and how sure it was of each token. */
import { argmax } from './bundled-reference.ts'
import type { RingOfEngines } from './ring-of-engines.ts'

export interface Drawn {
  readonly tokens: readonly number[]
  /** How far the likeliest logit is above the second one, for each token. */
  readonly margins: readonly number[]
}

const marginOf = (logits: Float32Array, best: number): number => {
  let second = -Infinity
  for (const [index, value] of logits.entries()) if (index !== best && value > second) second = value
  return logits[best] - second
}

/** By cached decode, up to `count` tokens, until `end` came. */
export const drawGreedily = async (
  ring: RingOfEngines,
  prompt: readonly number[],
  { count, end }: { readonly count: number; readonly end: number },
): Promise<Drawn> => {
  const slot = 7
  const tokens: number[] = []
  const margins: number[] = []
  let [logits] = await ring.step([{ slot, position: 0, tokens: [...prompt], logits: 'last' }])
  for (;;) {
    const best = argmax(logits)
    tokens.push(best)
    margins.push(marginOf(logits, best))
    if (tokens.length === count || best === end) break
    ;[logits] = await ring.step([{ slot, position: prompt.length + tokens.length - 1, tokens: [best], logits: 'last' }])
  }
  await ring.release(slot)
  return { tokens, margins }
}
