/** Runs the segments of one rank. Lives in the compute thread. */
import { join } from 'node:path'
import { MeshError } from '../../../shared/errors.ts'
import { writeState } from '../../../shared/home.ts'
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { BackendOptions, Buffers, Span } from '../backend.ts'
import { openResidual, type Residual } from '../residual.ts'
import type { Runner } from '../runner.ts'
import { Attention } from './attention.ts'
import { headSegment, mlpSegment } from './segments.ts'
import { onlyForGgml } from './unsupported.ts'
import { f32, type OpenGraph, openSession, type Session, type Value } from './session.ts'

export class OnnxRunner implements Runner {
  readonly residual: Residual
  readonly #options: BackendOptions
  readonly #attention: Attention
  readonly #mlp: Session[] = []
  #head: Session | undefined

  private constructor(options: BackendOptions, attention: Attention) {
    this.residual = openResidual(options.spec, options.shard)
    this.#options = options
    this.#attention = attention
  }

  /** Writes the graphs beside the weights and loads them. @param progress called with 0..1 */
  static load(options: BackendOptions, progress: (fraction: number) => void): OnnxRunner {
    const problem = options.quant === 'file' ? 'weights in the types of their file' : onlyForGgml(options.spec)
    if (problem !== undefined)
      throw new MeshError('backendFailed', {
        backend: 'onnx',
        problem: `${problem}: that is for the ggml backend alone`,
      })
    const { shape, ranges, shard, threads } = options
    const open: OpenGraph = (name, bytes, outputs) => {
      const file = join(shard.folder, `${name}.onnx`)
      writeState(file, bytes)
      return openSession(file, threads, outputs)
    }
    const attention = new Attention(options, open)
    const runner = new OnnxRunner(options, attention)
    for (let layer = 0; layer < shape.layers; layer++) {
      attention.loadLayer(layer)
      if (sizeOf(ranges.ffn) > 0) runner.#mlp.push(open(`mlp-${layer}`, mlpSegment(options, layer), ['y']))
      progress((layer + 1) / (shape.layers + 1))
    }
    if (sizeOf(ranges.vocab) > 0) runner.#head = open('head', headSegment(options), ['y'])
    progress(1)
    return runner
  }

  get hidden(): number {
    return this.#options.shape.hidden
  }

  attention(layer: number, spans: readonly Span[], buffers: Buffers): void {
    this.#checkLayer(layer)
    for (const { start, count } of spans) this.#checkRows(start + count, buffers)
    this.#attention.run(layer, spans, buffers)
  }

  feedForward(layer: number, rows: number, buffers: Buffers, firstRow: number): void {
    this.#checkLayer(layer)
    this.#checkRows(firstRow + rows, buffers)
    if (this.#mlp.length === 0) buffers.partial.fill(0, firstRow * this.hidden, (firstRow + rows) * this.hidden)
    else buffers.partial.set(this.#mlp[layer].run({ x: this.#rows(firstRow, rows, buffers) }).y, firstRow * this.hidden)
  }

  head(rows: number, buffers: Buffers): void {
    this.#checkRows(rows, buffers)
    if (this.#head) buffers.logits.set(this.#head.run({ x: this.#rows(0, rows, buffers) }).y)
  }

  release(slot: number): void {
    this.#attention.release(slot)
  }

  releaseAll(): void {
    this.#attention.releaseAll()
  }

  close(): void {
    this.#attention.close()
    for (const session of this.#mlp) session.close()
    this.#head?.close()
  }

  #rows(first: number, count: number, { hidden }: Buffers): Value {
    return f32(hidden.subarray(first * this.hidden, (first + count) * this.hidden), [1, count, this.hidden])
  }

  #checkLayer(layer: number): void {
    if (layer < 0 || layer >= this.#options.shape.layers)
      throw new RangeError(`layer ${layer} of ${this.#options.shape.layers}`)
  }

  #checkRows(rows: number, { hidden }: Buffers): void {
    if (rows * this.hidden > hidden.length)
      throw new RangeError(`${rows} rows, memory for ${hidden.length / this.hidden}`)
  }
}
