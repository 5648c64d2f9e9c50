/** Runs the onnx segments in the calling thread: hundreds of tiny models in one test would spend their time on threads. */
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { Backend, BackendOptions, Buffers } from '../backend.ts'
import { execute, operations } from '../host/command.ts'
import { OnnxRunner } from '../onnx/runner.ts'

export const createInlineBackend = async (options: BackendOptions): Promise<Backend> => {
  const runner = await OnnxRunner.load(options, () => {})
  const { shape, ranges } = options
  let buffers: Buffers | undefined
  let held = 0
  const plain = { layer: 0, rows: 0, slot: 0, spans: [] }
  const run = (command: Partial<Parameters<typeof execute>[1]> & { operation: Parameters<typeof execute>[1]['operation'] }): Promise<void> => execute(runner, { ...plain, ...command }, buffers as Buffers)
  return {
    name: 'onnx-inline',
    description: 'ONNX Runtime in the calling thread',
    buffers: async (rows) => {
      if (rows > held || !buffers) {
        held = rows
        buffers = { hidden: new Float32Array(rows * shape.hidden), partial: new Float32Array(rows * shape.hidden), logits: new Float32Array(rows * sizeOf(ranges.vocab)) }
      }
      return buffers
    },
    attention: (layer, spans) => run({ operation: operations.attention, layer, spans }),
    feedForward: (layer, rows) => run({ operation: operations.feedForward, layer, rows }),
    layers: (spans, rows) => run({ operation: operations.layers, spans, rows }),
    head: (rows) => run({ operation: operations.head, rows }),
    release: (slot) => run(slot === 'all' ? { operation: operations.releaseAll } : { operation: operations.release, slot }),
    close: () => run({ operation: operations.close }),
  }
}
