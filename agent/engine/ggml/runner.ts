/** Runs the segments of one rank with ggml. Lives in the compute process. */
import { MeshError } from '../../../shared/errors.ts'
import { layerSpec } from '../../model/architecture/model-spec.ts'
import type { BackendOptions, Buffers, Span } from '../backend.ts'
import { openResidual, type Residual } from '../residual.ts'
import { openRouters, type Router } from '../router.ts'
import type { Runner } from '../runner.ts'
import { type GgmlDevice, openDevice } from './device.ts'
import { buildHead, buildSet, type GraphSet, keyOf } from './graphs.ts'
import { IoMemory } from './io-memory.ts'
import { cacheWidthsOf, GgmlKvCache } from './kv-cache.ts'
import { bucketedLength } from './lengths.ts'
import { type Ggml, openGgml, type Pointer } from './library.ts'
import { type GraphParts, type Rows, rowsOf } from './parts.ts'
import { RecurrentState } from './recurrent-state.ts'
import { unsupported } from './unsupported.ts'
import { loadWeights, type Weights } from './weights.ts'

/** Compositions of a step whose graphs are kept. */
const keptSets = 16

/** True where the file holds all matrices unrounded: then the cache is exact too. */
const isExact = ({ tensors }: BackendOptions['shard']): boolean =>
  [...tensors].every(([name, { dtype }]) => !name.endsWith('.w') || dtype === 'F32')

export class GgmlRunner implements Runner {
  readonly residual: Residual
  readonly #options: BackendOptions
  readonly #ggml: Ggml
  readonly #device: GgmlDevice
  readonly #weights: Weights
  readonly #routers: readonly (Router | undefined)[]
  readonly #caches = new Map<number, GgmlKvCache>()
  readonly #states = new Map<number, RecurrentState>()
  readonly #sets = new Map<string, GraphSet>()
  readonly #heads = new Map<number, ReturnType<typeof buildHead>>()
  #io: IoMemory | undefined
  /** Graphs of the current step, under the first row of each of its parts. */
  readonly #current = new Map<number, GraphSet>()

  private constructor(options: BackendOptions, ggml: Ggml, device: GgmlDevice, weights: Weights) {
    this.residual = openResidual(options.spec, options.shard)
    this.#routers = openRouters(options.spec, options.shard)
    this.#options = options
    this.#ggml = ggml
    this.#device = device
    this.#weights = weights
  }

  /** @throws MeshError `backendFailed` */
  static load(options: BackendOptions, progress: (fraction: number) => void): GgmlRunner {
    const problem = unsupported(options)
    if (problem !== undefined) throw new MeshError('backendFailed', { backend: 'ggml', problem })
    const ggml = openGgml()
    const device = openDevice(ggml, options.threads)
    return new GgmlRunner(options, ggml, device, loadWeights(ggml, device, options, progress))
  }

  /** For the log. */
  get description(): string {
    return `${this.#ggml.description}, ${this.#device.description}, weights in ${this.#weights.buffer}`
  }

  get hidden(): number {
    return this.#options.shape.hidden
  }

  /** New memory for inputs and outputs: all graphs point to the old one and go. */
  useMemory(rows: number, memory: ArrayBufferLike): Buffers {
    this.#forgetGraphs()
    this.#io?.free()
    this.#io = new IoMemory(this.#ggml, this.#options, rows, memory)
    return this.#io.buffers
  }

  attention(layer: number, spans: readonly Span[]): void {
    const rows = rowsOf(spans)
    if (layer === 0) this.#beginStep(spans, rows)
    const graph = this.#graphs(rows.first).attention[layer]
    if (graph !== undefined && layerSpec(this.#options.spec, layer).block === 'parallel') this.#route(layer, rows)
    this.#compute(graph, rows)
  }

  feedForward(layer: number, count: number, _: Buffers, first: number): void {
    this.#route(layer, { first, count })
    this.#compute(this.#graphs(first).mlp[layer], { first, count })
  }

  head(rows: number): void {
    if (!this.#weights.has('head')) return
    let head = this.#heads.get(rows)
    if (!head) {
      head = buildHead(this.#parts(), rows)
      this.#heads.set(rows, head)
    }
    this.#run(head.graph)
  }

  release(slot: number): void {
    const cache = this.#caches.get(slot)
    const state = this.#states.get(slot)
    if (!cache && !state) return
    this.#forgetGraphs()
    this.#caches.delete(slot)
    this.#states.delete(slot)
    cache?.free()
    state?.free()
  }

  releaseAll(): void {
    for (const slot of new Set([...this.#caches.keys(), ...this.#states.keys()])) this.release(slot)
  }

  useThreads(count: number): void {
    this.#device.useThreads(count)
  }

  #memory(): IoMemory {
    if (!this.#io) throw new Error('no memory for inputs and outputs yet')
    return this.#io
  }

  #parts(): GraphParts {
    return {
      ggml: this.#ggml,
      device: this.#device,
      options: this.#options,
      weights: this.#weights,
      io: this.#memory(),
      cache: (slot) => this.#cache(slot),
      state: (slot) => this.#state(slot),
    }
  }

  #cache(slot: number): GgmlKvCache {
    let cache = this.#caches.get(slot)
    if (!cache) {
      const { spec, shape, ranges, quant, shard } = this.#options
      cache = new GgmlKvCache(this.#ggml, {
        widths: cacheWidthsOf(spec, ranges),
        capacity: Math.ceil(shape.context / 256) * 256,
        full: quant === 'f32' || (quant === 'file' && isExact(shard)),
      })
      this.#caches.set(slot, cache)
    }
    return cache
  }

  #state(slot: number): RecurrentState {
    let state = this.#states.get(slot)
    if (!state) {
      const { spec, ranges } = this.#options
      state = new RecurrentState(this.#ggml, spec, ranges)
      this.#states.set(slot, state)
    }
    return state
  }

  #graphs(firstRow: number): GraphSet {
    const set = this.#current.get(firstRow)
    if (!set) throw new Error(`no step was begun for rows from ${firstRow}`)
    return set
  }

  #beginStep(spans: readonly Span[], { first, count }: Rows): void {
    const io = this.#memory()
    if (first + count > io.rows) throw new RangeError(`${first + count} rows, memory for ${io.rows}`)
    const lengths = spans.map(bucketedLength)
    if (
      io.reserveMasks(
        first,
        spans.map((span, index) => lengths[index] * span.count),
      )
    )
      this.#forgetSets((set) => set.rows.first === first)
    const key = keyOf(spans)
    const set = this.#sets.get(key) ?? buildSet(this.#parts(), spans)
    // last in the map is what was used last, so that another part of this step is never the one to go
    this.#sets.delete(key)
    this.#sets.set(key, set)
    if (this.#sets.size > keptSets) {
      const [oldest] = this.#sets.values()
      this.#forgetSets((one) => one === oldest)
    }
    this.#current.set(first, set)
    for (const span of spans) this.#states.get(span.slot)?.advance(span)
    io.write(spans, lengths)
  }

  /** Chooses the experts of the rows, where the layer has any. */
  #route(layer: number, { first, count }: Rows): void {
    const router = this.#routers[layer]
    if (!router) return
    const io = this.#memory()
    const { ids, factors } = io.choice(first, count, router.experts.used)
    router.route(io.buffers.hidden.subarray(first * this.hidden, (first + count) * this.hidden), ids, factors)
  }

  /** Runs a graph; a rank without that half contributes zeros. */
  #compute(graph: Pointer | undefined, { first, count }: Rows): void {
    if (graph === undefined) this.#memory().buffers.partial.fill(0, first * this.hidden, (first + count) * this.hidden)
    else this.#run(graph)
  }

  #run(graph: Pointer): void {
    const status = this.#ggml.backend_graph_compute(this.#device.backend, graph)
    if (status !== 0) throw new Error(`ggml: graph failed with status ${status}`)
  }

  #forgetSets(which: (set: GraphSet) => boolean): void {
    for (const [key, set] of this.#sets) {
      if (!which(set)) continue
      this.#sets.delete(key)
      if (this.#current.get(set.rows.first) === set) this.#current.delete(set.rows.first)
      set.free()
    }
  }

  #forgetGraphs(): void {
    this.#forgetSets(() => true)
    for (const head of this.#heads.values()) head.free()
    this.#heads.clear()
  }

  close(): void {
    this.#forgetGraphs()
    this.releaseAll()
    this.#io?.free()
    this.#device.close()
  }
}
