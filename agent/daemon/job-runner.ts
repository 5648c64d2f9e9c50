/** Runs assigned jobs on rank 0 and reports them, token by token, through the outbox. */
import type { AgentMessage, ControlMessage } from '../../shared/api/messages.ts'
import { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { RankWork } from '../generation/protocol.ts'
import { encodeAside } from '../model/prompt-encoder.ts'
import type { Outbox } from './outbox.ts'
import type { RingSession } from './ring-session.ts'
import { type Sealing, withoutWords } from './sealing.ts'
import { plainAnswer, sealedAnswer } from './told-answer.ts'

export type Assignment = Extract<ControlMessage, { type: 'job-assign' }>

export interface JobRunnerOptions {
  readonly outbox: Outbox
  readonly logger: Logger
  /** For what need not be repeated when it is lost. */
  send(message: AgentMessage): void
  readonly sealing: Pick<Sealing, 'open'>
  /** The session that an assignment means. @throws MeshError `epochStale` */
  sessionOf(assignment: Assignment): RingSession
  onChange(): void
  /** This device did its part of a job. */
  onWork(session: RingSession, work: RankWork): void
}

/** A prompt of minutes is told of every few seconds, one of milliseconds not at all. */
const progressMs = 3000
const everyFew = (tell: (tokens: number) => void): ((tokens: number) => void) => {
  let last = performance.now()
  return (tokens) => {
    if (performance.now() - last < progressMs) return
    last = performance.now()
    tell(tokens)
  }
}

export class JobRunner {
  readonly #options: JobRunnerOptions
  readonly #running = new Map<string, AbortController>()
  #done = 0
  #failed = 0

  constructor(options: JobRunnerOptions) {
    this.#options = options
  }

  get counts(): { readonly running: number; readonly done: number; readonly failed: number } {
    return { running: this.#running.size, done: this.#done, failed: this.#failed }
  }

  /** Never throws: every end of a job is a message to the control plane. */
  async run(assignment: Assignment): Promise<void> {
    const { jobId, epoch } = assignment
    const { outbox, logger, onChange } = this.#options
    if (this.#running.has(jobId) || outbox.has(jobId)) return // assigned again after a reconnect: it runs, or has ended
    const abort = new AbortController()
    this.#running.set(jobId, abort)
    onChange()
    try {
      await this.#generate(assignment, abort.signal)
      this.#done++
    } catch (error) {
      const failure = assignment.submission.sealed ? withoutWords(MeshError.from(error)) : MeshError.from(error)
      this.#failed++
      const { peer, rank } = failure.fields
      // the words of a failure may quote the prompt, and logs hold no text
      logger.warn({ job: jobId, code: failure.code, peer, rank }, 'job failed')
      outbox.post({ type: 'job-failed', jobId, epoch, error: failure.toReport() })
    } finally {
      this.#running.delete(jobId)
      onChange()
    }
  }

  async #generate(assignment: Assignment, signal: AbortSignal): Promise<void> {
    const { jobId, epoch } = assignment
    const { outbox, sealing, sessionOf, onWork } = this.#options
    const session = sessionOf(assignment)
    const { leader, loaded } = session.leader
    const { tokenizer, model } = loaded
    const sealed = assignment.submission.sealed && (await sealing.open(session.ring.poolId, assignment.submission))
    const submission = sealed?.submission ?? assignment.submission
    const told = sealed ? sealedAnswer(sealed.answerSecret) : plainAnswer
    const limits = { context: leader.contextLength, vocab: model.config.shape.vocab }
    const tokens = await encodeAside({ tokenizer, folder: model.folder }, submission, limits, signal)
    outbox.post({ type: 'job-started', jobId, epoch, promptTokens: tokens.length })
    const result = await leader.run({
      jobId,
      tokens,
      signal,
      maxTokens: submission.maxTokens,
      sampling: submission.sampling,
      stop: submission.stop,
      endTokens: [...model.config.eosTokenIds, ...tokenizer.endTokenIds],
      queuedMs: assignment.queuedMs,
      onRead: everyFew((readTokens) => this.#options.send({ type: 'job-progress', jobId, epoch, readTokens })),
      onToken: (index, token, text) =>
        outbox.post({ type: 'job-tokens', jobId, epoch, firstIndex: index, ...told.token(token, text) }),
    })
    const { finishReason, usage, timings } = result
    onWork(session, result.work) // first: an answer that arrives is paid for, also when this process dies here
    outbox.post({ type: 'job-done', jobId, epoch, finishReason, usage, timings, ...told.whole(result) })
  }

  cancel(jobId: string): void {
    this.#running.get(jobId)?.abort(new MeshError('jobCancelled'))
  }

  /** Ends everything that runs. */
  cancelAll(): void {
    for (const abort of this.#running.values()) abort.abort(new MeshError('jobCancelled'))
  }
}
