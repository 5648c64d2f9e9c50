/**
 * Runs a backend's kernels in the calling thread: hundreds of tiny models in one test would spend their time on
 * threads.
 */
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { Backend, BackendOptions, Buffers } from '../backend.ts'
import { ioLayout } from '../ggml/io-memory.ts'
import { GgmlRunner } from '../ggml/runner.ts'
import { type Command, execute, operations } from '../../compute/command.ts'
import type { Runner } from '../runner.ts'
import { OnnxRunner } from '../onnx/runner.ts'
import { ggmlComes } from './platform.ts'

const plain: Command = { operation: operations.layers, layer: 0, rows: 0, firstRow: 0, slot: 0, spans: [] }

const inline = (name: string, runner: Runner, share: (rows: number) => Buffers): Backend => {
  let buffers: Buffers | undefined
  let held = 0
  const run = (command: Partial<Command>): Promise<void> =>
    execute(runner, { ...plain, ...command }, buffers as Buffers)
  return {
    name,
    description: 'in the calling thread',
    buffers: async (rows) => {
      if (rows > held || !buffers) {
        held = rows
        buffers = share(rows)
      }
      return buffers
    },
    attention: (layer, spans) => run({ operation: operations.attention, layer, spans, firstRow: spans[0].start }),
    feedForward: (layer, rows, firstRow = 0) => run({ operation: operations.feedForward, layer, rows, firstRow }),
    layers: (spans, rows) => run({ operation: operations.layers, spans, rows }),
    head: (rows) => run({ operation: operations.head, rows }),
    release: (slot) =>
      run(slot === 'all' ? { operation: operations.releaseAll } : { operation: operations.release, slot }),
    close: () => run({ operation: operations.close }),
  }
}

export const createInlineOnnx = async (options: BackendOptions): Promise<Backend> => {
  const { shape, ranges } = options
  return inline(
    'onnx',
    OnnxRunner.load(options, () => {}),
    (rows) => ({
      hidden: new Float32Array(rows * shape.hidden),
      partial: new Float32Array(rows * shape.hidden),
      logits: new Float32Array(rows * sizeOf(ranges.vocab)),
    }),
  )
}

/** One aligned page more than the layout needs. */
const slackBytes = 4096

export const createInlineGgml = async (options: BackendOptions): Promise<Backend> => {
  const runner = GgmlRunner.load(options, () => {})
  return inline('ggml', runner, (rows) =>
    runner.useMemory(rows, new ArrayBuffer(ioLayout(options, rows).total + slackBytes)),
  )
}

/** Kernels that every test of numbers runs on. */
export const inlineBackends = { onnx: createInlineOnnx, ...(ggmlComes ? { ggml: createInlineGgml } : {}) }
