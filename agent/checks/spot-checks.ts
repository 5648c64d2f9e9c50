/**
 * Spot checks of the other ranks' sums, on every rank for itself. Now and then, at an instant that it alone knows, a rank
 * keeps what the MLP half of a layer was given and what another rank said it gives; a thread of low priority computes
 * the same from this device's own model folder. Nothing waits for it, and nobody learns what is checked: nothing of it
 * goes over the network. What is compared is what was added to the sum.
 */
import { randomBytes } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import { problemOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { sizeOf } from '../../shared/plan/shard-plan.ts'
import type { Range } from '../../shared/schema/common.ts'
import type { Seen, StepInput, Watch } from '../engine/engine.ts'
import type { BlockColumns } from '../model/quantize.ts'
import { checkableLayers } from './checkable.ts'
import type { CheckThreadInput, FromThread, ToThread } from './check-messages.ts'
import { tolerances, unlikeError } from './compare.ts'
import { halfBytes } from './half-file.ts'
import { type CheckedRank, createRank, halvesPerRank, type Pending, type RankView } from './checked-rank.ts'

export interface SpotChecksOptions extends Omit<CheckThreadInput, 'busy' | 'cuttingShare'> {
  /** As in `CheckThreadInput`. Absent: as much as nobody notices. */
  readonly cuttingShare?: number
  /** This one. */
  readonly rank: number
  /** MLP columns of every rank. */
  readonly ffn: readonly Range[]
  /** Columns of a block of quantisation as this rank has them: others likely have the same. */
  readonly block: BlockColumns
  readonly logger: Pick<Logger, 'warn' | 'debug'>
  /** Uniform in 0..1; nobody else may be able to guess it. */
  readonly random?: () => number
  /** A rank was found wrong, or cannot be checked; and now and then, while nothing is wrong. */
  onChange(): void
}

/** Bytes that all half layers of a ring may take on disk; one of each rank is kept in any case. */
const mostBytes = 256 * 2 ** 20
/** Checks of a rank after which their number is worth telling. */
export const checksPerChange = 16
/** A ring that ran no step for so long is idle: halves may be cut at full speed. */
const idleMs = 2000
/** Of the time of a ring that computes. */
const usualCuttingShare = 0.004
/** Checks that wait for the thread. */
const mostPending = 4
/** Tokens after which a rank that was wrong is looked at again. */
const againTokens = 4
/** Tokens to wait where parts do not arrive one by one. */
const unseenTokens = 8
/** After a half that could not be cut. */
const retryMs = 60_000

const secret = (): number => randomBytes(4).readUInt32LE() / 2 ** 32

export class SpotChecks {
  readonly #options: SpotChecksOptions
  readonly #random: () => number
  readonly #thread: Worker
  /** Those that can be checked. */
  readonly #layers: readonly number[]
  readonly #busy = new Int32Array(new SharedArrayBuffer(4))
  readonly #idleTimer: NodeJS.Timeout
  readonly #retries = new Set<NodeJS.Timeout>()
  readonly #ranks: readonly CheckedRank[]
  readonly #pending = new Map<number, Pending>()
  /** What the step that runs is watched for. */
  #watched: { readonly rank: CheckedRank; readonly half: number } | undefined
  #numbers = 0
  #checkMs = 0
  #turn = 0

  constructor(options: SpotChecksOptions) {
    const { rank: own, ffn, modelFolder, digests, spec, quant, folder, cuttingShare = usualCuttingShare } = options
    this.#options = options
    this.#layers = checkableLayers(spec)
    this.#random = options.random ?? secret
    const input: CheckThreadInput = {
      modelFolder,
      digests,
      spec,
      quant,
      folder,
      cuttingShare,
      busy: this.#busy.buffer as SharedArrayBuffer,
    }
    this.#thread = new Worker(new URL('./check-thread.ts', import.meta.url), {
      workerData: input,
      name: 'checks',
      resourceLimits: { maxOldGenerationSizeMb: 96 },
    })
    this.#thread.unref()
    this.#thread.on('message', (message: FromThread) => this.#receive(message))
    this.#thread.on('error', (error) => this.#stopped(problemOf(error)))
    this.#idleTimer = setTimeout(() => Atomics.store(this.#busy, 0, 0), idleMs).unref()
    this.#ranks = ffn.flatMap((columns, rank) => (rank === own ? [] : [createRank(rank, columns, this.#random)]))
    for (const rank of this.#ranks) if (sizeOf(rank.ffn) > 0) this.#cut(rank, options.block, true)
  }

  /** What each other rank turned out to be so far. */
  get views(): RankView[] {
    return this.#ranks.map((rank) => rank.view)
  }

  /** Every rank that can be checked can be checked now. */
  get isReady(): boolean {
    return this.#ranks.every(
      ({ ffn, halves, problem }) => sizeOf(ffn) === 0 || problem !== undefined || halves.some(({ isCut }) => isCut),
    )
  }

  /** Checks are under way. */
  get isBehind(): boolean {
    return this.#pending.size > 0 || this.#ranks.some(({ waiting }) => waiting !== undefined)
  }

  /** Nothing is under way, and no half is being cut. */
  get isSettled(): boolean {
    return !this.isBehind && this.#ranks.every(({ halves }) => halves.every(({ isCut }) => isCut))
  }

  /** Milliseconds of processor that checks took so far, without the cutting. */
  get checkMs(): number {
    return this.#checkMs
  }

  /** Whether a step that begins is watched, and where. */
  choose({ sequences }: StepInput): Watch | undefined {
    const tokens = sequences.reduce((sum, sequence) => sum + sequence.tokens.length, 0)
    Atomics.store(this.#busy, 0, 1)
    this.#idleTimer.refresh()
    for (const rank of this.#ranks) rank.instants.pass(tokens)
    this.#watched = undefined
    if (this.#pending.size >= mostPending) return undefined
    const due = this.#ranks.filter(
      (rank) => rank.instants.isDue && !rank.waiting && rank.halves.some(({ isCut }) => isCut),
    )
    const rank = due[this.#turn++ % Math.max(1, due.length)]
    if (!rank) return undefined
    const halves = rank.halves.filter(({ isCut }) => isCut)
    const { number: half, layer } = halves[Math.floor(this.#random() * halves.length)]
    this.#watched = { rank, half }
    return { layer, row: Math.floor(this.#random() * tokens) }
  }

  /** What was seen of the step that was chosen last. */
  observe(seen: Seen | undefined, jobId?: string): void {
    const watched = this.#watched
    this.#watched = undefined
    if (!watched) return
    const { rank, half } = watched
    const part = seen?.parts.get(rank.rank)
    if (!seen || !part) {
      rank.unseen++
      rank.instants.notBefore(unseenTokens)
      return
    }
    rank.instants.done()
    this.#check({ rank, half, sent: { x: seen.x, part, wire: seen.wire }, jobId })
  }

  async close(): Promise<void> {
    clearTimeout(this.#idleTimer)
    for (const timer of this.#retries) clearTimeout(timer)
    this.#thread.removeAllListeners()
    await this.#thread.terminate()
  }

  #say(message: ToThread): void {
    this.#thread.postMessage(message)
  }

  #cut(
    rank: CheckedRank,
    block: BlockColumns,
    inHaste: boolean,
    layer = this.#layers[Math.floor(this.#random() * this.#layers.length)],
  ): number {
    const number = ++this.#numbers
    rank.halves.push({ number, layer, block, isCut: false, checks: 0 })
    this.#say({ type: 'cut', half: number, layer, ffn: rank.ffn, block, inHaste })
    return number
  }

  #drop(rank: CheckedRank, number: number): void {
    rank.halves.splice(0, rank.halves.length, ...rank.halves.filter((half) => half.number !== number))
    this.#say({ type: 'drop', half: number })
  }

  #check(pending: Pending): void {
    const check = ++this.#numbers
    const { rank, half, sent } = pending
    this.#pending.set(check, pending)
    this.#say({ type: 'check', check, half, ...sent, kinds: rank.kindsFor(rank.blockOf(half)) })
  }

  #receive(message: FromThread): void {
    if (message.type === 'cut') this.#cutDone(message.half)
    else if (message.type === 'failed') this.#failed(message.half, message.problem)
    else if (message.type === 'gone') this.#pending.delete(message.check)
    else this.#checked(message)
  }

  #cutDone(number: number): void {
    const rank = this.#ranks.find(({ halves }) => halves.some((half) => half.number === number))
    const half = rank?.halves.find((one) => one.number === number)
    if (!rank || !half) return
    half.isCut = true
    rank.problem = undefined
    const { waiting } = rank
    if (waiting?.half === number) {
      rank.waiting = undefined
      this.#check(waiting)
    }
    // the one that was used most makes room
    const [oldest] = rank.halves.filter(({ isCut, checks }) => isCut && checks >= rank.checksPerHalf)
    if (oldest && rank.halves.length > this.#room(rank)) this.#drop(rank, oldest.number)
    this.#refill(rank)
  }

  /** Halves that a rank may have at once. */
  #room(rank: CheckedRank): number {
    const { spec, quant, block } = this.#options
    const bytes = halfBytes({ spec, quant, layer: 0, ffn: rank.ffn, block })
    return Math.max(1, Math.min(halvesPerRank, Math.floor(mostBytes / this.#ranks.length / bytes)))
  }

  /** One more where there is room, or in place of one that was used enough; one at a time. */
  #refill(rank: CheckedRank): void {
    if (rank.waiting || rank.halves.some(({ isCut }) => !isCut)) return
    const isSpent = rank.halves.some(({ checks }) => checks >= rank.checksPerHalf)
    if (rank.halves.length < this.#room(rank) || isSpent)
      this.#cut(rank, rank.known?.block ?? this.#options.block, false)
  }

  #checked({ check, kind, error, tookMs }: Extract<FromThread, { type: 'checked' }>): void {
    const pending = this.#pending.get(check)
    this.#pending.delete(check)
    this.#checkMs += tookMs
    const half = pending?.rank.halves.find((one) => one.number === pending.half)
    // what was begun before it was known that its blocks may be of the other width says nothing
    if (!pending || !half || pending.rank.waiting) return
    const { rank, half: number, jobId } = pending
    const { quant, logger } = this.#options
    const tolerance = tolerances[quant]
    half.checks++
    if (error < unlikeError) rank.learn({ kind, block: half.block }, (other) => this.#drop(rank, other))
    else if (this.#mayBeOther(pending)) {
      rank.waiting = {
        ...pending,
        half: this.#cut(rank, half.block === 32 ? 128 : 32, true, half.layer),
        firstError: error,
      }
      return
    } else if (pending.firstError !== undefined) {
      rank.isUnlike = true
      this.#drop(rank, number)
    }
    const isWrong = rank.evidence.add({ error: Math.min(error, pending.firstError ?? Infinity), tolerance, jobId })
    logger.debug({ rank: rank.rank, layer: half.layer, error, kind }, 'spot check')
    if (isWrong) rank.instants.soon(againTokens)
    if (rank.evidence.isWrong ? isWrong : rank.evidence.checks % checksPerChange === 0) this.#options.onChange()
    this.#refill(rank)
  }

  /** Its blocks may be of the other width: nothing is said of a rank before that was tried. */
  #mayBeOther({ rank, firstError }: Pending): boolean {
    return this.#options.quant === 'q4' && !rank.known && !rank.isUnlike && !rank.waiting && firstError === undefined
  }

  #failed(number: number, problem: string): void {
    const rank = this.#ranks.find(({ halves }) => halves.some((half) => half.number === number))
    if (!rank) return
    rank.waiting = undefined
    this.#drop(rank, number)
    this.#problem(rank, problem)
    const timer = setTimeout(() => {
      this.#retries.delete(timer)
      this.#refill(rank)
    }, retryMs).unref()
    this.#retries.add(timer)
  }

  #problem(rank: CheckedRank, problem: string): void {
    if (rank.problem === problem) return
    rank.problem = problem
    this.#options.logger.warn(
      { rank: rank.rank, problem },
      `the sums of rank ${rank.rank} cannot be checked: ${problem}`,
    )
    this.#options.onChange()
  }

  /** The thread died: nothing is checked any more in this epoch. */
  #stopped(problem: string): void {
    for (const rank of this.#ranks) {
      rank.halves.length = 0
      this.#problem(rank, problem)
    }
  }
}
