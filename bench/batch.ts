/**
 * Decode of several sequences in one step. The token loop of agents runs one prompt at a time, so here all ranks know
 * how many steps there are; what travels in a step is the same: sums, best candidates of each row, next tokens.
 */
import type { Channel } from '../agent/channel/channel.ts'
import type { Engine } from '../agent/engine/engine.ts'
import { type Candidates, candidateCount, decodeCandidates, encodeCandidates } from '../agent/generation/candidates.ts'
import { prefillChunkTokens } from '../agent/generation/protocol.ts'
import { sample, topCandidates } from '../agent/generation/sampler.ts'
import type { Sampling } from '../shared/schema/job.ts'
import { dtypes, type FrameTag, phases } from '../shared/wire/frame.ts'

export interface BatchRank {
  readonly engine: Engine
  /** Absent in a ring of one. */
  readonly channel: Channel | undefined
  readonly vocab: number
}

export interface BatchOrder {
  /** Keeps batches apart, from 0. */
  readonly batch: number
  readonly sequences: number
  /** Of each sequence. */
  readonly promptTokens: number
  /** Steps. */
  readonly tokens: number
}

export const greedy: Sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 }

/** Some text or other. */
export const promptOf = (length: number, vocab: number): number[] =>
  Array.from({ length }, (_, i) => (i * 131 + 7) % vocab)

/** Job numbers and slots beyond those of the token loop. */
const firstJob = 1_000_000
/** Operation numbers beyond those of sums: one for the next tokens, then one for the candidates of each row. */
const tokensOperation = 0xfff0_0000

/** What rank 0 draws for each row from the candidates of all ranks; every rank gets to know it. */
const nextTokens = async (
  { channel, vocab }: BatchRank,
  tag: FrameTag,
  own: readonly Candidates[],
): Promise<number[]> => {
  const others = Array.from({ length: (channel?.worldSize ?? 1) - 1 }, (_, i) => i + 1)
  const rowTag = (row: number): FrameTag => ({ ...tag, operation: tokensOperation + 1 + row })
  const take = async (from: number, which: FrameTag): Promise<Uint8Array> => {
    const payload = await (channel as Channel).receive(from, which)
    const bytes = Uint8Array.from(payload.bytes)
    payload.release?.()
    return bytes
  }
  if (channel && channel.rank > 0) {
    for (const [row, candidates] of own.entries())
      await channel.send(0, rowTag(row), { dtype: dtypes.bytes, bytes: encodeCandidates(candidates) })
    return [...new Uint32Array((await take(0, tag)).buffer)]
  }
  const drawn = await Promise.all(
    own.map(async (mine, row) => {
      const theirs = await Promise.all(
        others.map(async (rank) => decodeCandidates(await take(rank, rowTag(row)), { start: 0, end: vocab })),
      )
      // candidates always tell the greedy choice
      return (sample([mine, ...theirs], greedy, tag.step) as { readonly id: number }).id
    }),
  )
  const bytes = new Uint8Array(Uint32Array.from(drawn).buffer)
  await Promise.all(others.map((rank) => channel?.send(rank, tag, { dtype: dtypes.bytes, bytes })))
  return drawn
}

/** Every rank calls it with the same order. @returns milliseconds of the decode steps */
export const runBatch = async (
  rank: BatchRank,
  { batch, sequences, promptTokens, tokens: steps }: BatchOrder,
): Promise<number> => {
  const { engine, channel, vocab } = rank
  const job = firstJob + batch
  const slots = Array.from({ length: sequences }, (_, index) => firstJob + index)
  const prompt = promptOf(promptTokens, vocab)
  let step = 0
  for (const slot of slots) {
    for (let position = 0; position < promptTokens; position += prefillChunkTokens) {
      await engine.step({
        job,
        step: step++,
        sequences: [{ slot, position, tokens: prompt.slice(position, position + prefillChunkTokens), logits: 'none' }],
      })
    }
  }
  let next = slots.map((_, index) => index % vocab)
  const started = performance.now()
  for (let position = promptTokens; position < promptTokens + steps; position++) {
    const tag: FrameTag = { job, step, operation: tokensOperation, phase: phases.none, chunk: 0 }
    const { rows } = await engine.step({
      job,
      step: step++,
      sequences: slots.map((slot, index) => ({ slot, position, tokens: [next[index]], logits: 'last' })),
    })
    next = await nextTokens(
      rank,
      tag,
      rows.map(({ logits }) =>
        topCandidates(logits, engine.vocabStart, { count: candidateCount(greedy), history: [], sampling: greedy }),
      ),
    )
  }
  const decodeMs = performance.now() - started
  for (const slot of slots) await engine.release(slot)
  channel?.forgetJob(job)
  return decodeMs
}
