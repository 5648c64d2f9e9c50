/**
 * Messages to the control plane that must outlive this process: one file for each job, written before the message is
 * sent and removed when the control plane has it. Only the agent of this home writes here.
 */
import { createHash } from 'node:crypto'
import { rmSync, statSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { AgentMessage } from '../../shared/api/messages.ts'
import { MeshError, systemCodeOf } from '../../shared/errors.ts'
import { writeState } from '../../shared/home.ts'
import { namesIn } from '../../shared/lenient-files.ts'
import type { Logger } from '../../shared/log.ts'
import { readChecked } from './checked-state.ts'

export type JobMessage = Exclude<Extract<AgentMessage, { jobId: string }>, { type: 'job-progress' }>

const isOfJob = (message: AgentMessage): message is JobMessage => 'jobId' in message && message.type !== 'job-progress'

export class MessageStore {
  readonly #folder: string
  readonly #logger: Logger

  constructor(folder: string, logger: Logger) {
    this.#folder = folder
    this.#logger = logger
  }

  /** Replaces what is kept of the job. A full disk costs the safety, not the job. */
  save(message: JobMessage): void {
    this.#try('keep', () => writeState(this.#fileOf(message.jobId), `${JSON.stringify(message)}\n`, 0o600))
  }

  remove(jobId: string): void {
    this.#try('remove', () => rmSync(this.#fileOf(jobId), { force: true }))
  }

  /** When the message of a job was written down; `undefined` when there is none. A time to come counts as now. */
  writtenAt(jobId: string, now: number): number | undefined {
    const file = this.#fileOf(jobId)
    const written = statSync(file, { throwIfNoEntry: false })?.mtimeMs
    if (written === undefined || written <= now) return written
    // a clock ran ahead: it must not keep an answer for years
    this.#try('date', () => utimesSync(file, now / 1000, now / 1000))
    return now
  }

  /** What an earlier process left, oldest first. A damaged file is left where it is, and logged. */
  load(): JobMessage[] {
    const found: { readonly at: number; readonly message: JobMessage }[] = []
    for (const name of this.#names()) {
      const file = join(this.#folder, name)
      this.#try('read', () => {
        if (name.endsWith('.tmp')) return rmSync(file, { force: true }) // the process was killed while it wrote
        const message = readChecked(file, AgentMessage)
        if (message && isOfJob(message)) found.push({ at: statSync(file).mtimeMs, message })
      })
    }
    return found.toSorted((a, b) => a.at - b.at).map(({ message }) => message)
  }

  #names(): string[] {
    return namesIn(this.#folder)
  }

  /** The id comes from the control plane: as it is, it could name any file. */
  #fileOf(jobId: string): string {
    return join(this.#folder, `${createHash('sha256').update(jobId).digest('hex')}.json`)
  }

  #try(what: string, action: () => void): void {
    try {
      action()
    } catch (error) {
      // words about a damaged file quote it, and it may hold an answer
      const problem = error instanceof MeshError ? error.code : (systemCodeOf(error) ?? 'internal')
      this.#logger.warn({ problem }, `cannot ${what} a message about a job`)
    }
  }
}
