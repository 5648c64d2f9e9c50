/** `mesh bench`: prompts through a ring of processes, and llama.cpp beside it if asked. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { InferenceReport } from '../shared/schema/bench.ts'
import { batchFigures, type BesideRound, compared, contextFigures, figuresOf, type Round } from './inference-figures.ts'
import type {
  Batched,
  Connected,
  InferenceOptions,
  InferenceOrder,
  InferenceSettings,
  RankMemory,
  Room,
  RunResult,
} from './inference-orders.ts'
import { fileBeside } from './file-beside.ts'
import { type LlamaCpp, startLlamaCpp } from './llama-cpp.ts'
import { type Ranks, type Ready, startRanks } from './ranks.ts'
import { checkRoom, roomFor } from './room.ts'

interface InferenceReady extends Ready {
  readonly backend: string
  readonly description: string
  readonly loadMs: number
  readonly shardMs: number
}

const program = fileURLToPath(new URL('./inference-rank.ts', import.meta.url))

/** Prompts of a batch: what is timed comes after them. */
const batchPromptTokens = 32

type Group = Ranks<InferenceReady, InferenceOrder>

/** Everything of a round in turn, so that all see the same moods of the machine. */
const measureRound = async (
  { ask, askAll }: Group,
  options: InferenceOptions,
  llama: LlamaCpp | undefined,
  number: number,
): Promise<Round> => {
  const { promptTokens, tokens } = options
  const runPrompt = (length: number): Promise<RunResult> =>
    ask(0, { type: 'run', promptTokens: length, tokens }, 'result')
  const prompt = await runPrompt(promptTokens)
  const beside: BesideRound = { contexts: [], batches: [], prompt: await llama?.prompt(promptTokens, tokens) }
  const contexts: RunResult[] = []
  for (const context of options.contexts) {
    contexts.push(await runPrompt(context))
    if (llama) beside.contexts.push(await llama.prompt(context, tokens))
  }
  const batches: number[] = []
  for (const [index, sequences] of options.sequences.entries()) {
    const batch = number * options.sequences.length + index
    const length = Math.min(promptTokens, batchPromptTokens)
    const order = { type: 'batch', batch, sequences, promptTokens: length, tokens } as const
    const [{ decodeMs }] = await askAll<Batched>(order, 'batched')
    batches.push((sequences * tokens * 1000) / decodeMs)
    if (llama) beside.batches.push(await llama.batch(sequences, length, tokens))
  }
  return { prompt, contexts, batches, beside }
}

const reportOf = async (
  { ready, connected, askAll }: Group,
  { workers, threads, promptTokens, tokens, contexts, sequences }: InferenceOptions,
  { rounds, llama, room }: { readonly rounds: readonly Round[]; readonly llama?: LlamaCpp; readonly room: Room },
): Promise<InferenceReport> => {
  const memory = await askAll<RankMemory>({ type: 'measure' }, 'measured')
  const [{ backend, description }] = ready
  const prompts = rounds.map(({ prompt }) => prompt)
  return {
    backend,
    description,
    carrier: (connected[0] as Connected).carrier,
    ...figuresOf(prompts, promptTokens, tokens),
    contexts: contextFigures(contexts, rounds),
    batches: batchFigures(sequences, rounds),
    residentBytes: memory.map(({ residentBytes }) => residentBytes),
    shardBytes: memory.map(({ shardBytes }) => shardBytes),
    shardMs: Math.max(...ready.map(({ shardMs }) => shardMs)),
    loadMs: Math.max(...ready.map(({ loadMs }) => loadMs)),
    diskBytes: room.disk,
    llamaCpp: llama && {
      threads: workers * threads,
      residentBytes: await llama.residentBytes(),
      ...compared(rounds, { contexts, sequences }),
    },
  }
}

/** The ring beside llama.cpp, if it is there. */
const benchBeside = async (options: InferenceOptions, llama: LlamaCpp | undefined, room: Room) => {
  const { workers, runs, link, shape, quant } = options
  const { shapeName, types, modelFolder, backend, threads, spinMs, collective, carrier } = options
  const settings: InferenceSettings = {
    shape,
    ...(shapeName !== undefined && { shapeName }),
    ...(types && { types }),
    modelFolder,
    quant,
    backend,
    threads,
    spinMs,
    collective,
    carrier,
  }
  const group: Group = await startRanks({ program, workers, settings, shape, quant, link })
  try {
    await measureRound(group, options, llama, 0) // warms up
    const rounds: Round[] = []
    for (let number = 1; number <= runs; number++) rounds.push(await measureRound(group, options, llama, number))
    return await reportOf(group, options, { rounds, room, ...(llama && { llama }) })
  } finally {
    await group.stop()
  }
}

/** @throws MeshError `benchRoom` before anything is written, and of the model */
export const benchInference = async (options: InferenceOptions): Promise<InferenceReport> => {
  const { compare, workers, threads, promptTokens, tokens, contexts } = options
  const folder = mkdtempSync(join(tmpdir(), 'mesh-bench-file-'))
  let llama: LlamaCpp | undefined
  try {
    const beside = compare ? fileBeside(options, folder) : undefined
    const room = roomFor(options, beside)
    options.onRoom?.(room)
    checkRoom(room, folder)
    beside?.write()
    llama =
      beside &&
      (await startLlamaCpp({
        file: beside.file,
        threads: workers * threads,
        context: Math.max(promptTokens, ...contexts) + tokens,
      }))
    return await benchBeside({ ...options, ...beside?.ranks }, llama, room)
  } finally {
    await llama?.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}
