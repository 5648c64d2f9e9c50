/** Whether rank 0 gets on with a job: as long as it reads or writes tokens, that may take as long as it takes. */
import type { JobMessage } from './job-state.ts'

export interface JobWatch {
  /** When it got on for the last time. */
  readonly at: number
  /** Tokens of the prompt that went through the layers. */
  readonly read: number
  readonly written: number
  readonly started: boolean
}

/** What rank 0 said of a job; nothing counts twice, so that repeating it wins no time. */
export interface JobNews {
  readonly started?: boolean
  readonly read?: number
  readonly written?: number
}

/** Tokens that a job may read and write at most. */
export interface MostTokens {
  readonly read: number
  readonly written: number
}

/** @param context tokens that the model can hold */
export const mostOf = (context: number, { maxTokens }: { readonly maxTokens: number }): MostTokens => ({
  read: context,
  written: maxTokens,
})

/** What a message of rank 0 tells of how it gets on. */
export const newsOf = (message: JobMessage): JobNews => {
  if (message.type === 'job-tokens') return { written: message.firstIndex + message.tokens.length }
  return message.type === 'job-started' ? { started: true } : {}
}

export const jobWatchFrom = (now: number): JobWatch => ({ at: now, read: 0, written: 0, started: false })

export const jobWatched = (
  watch: JobWatch,
  { started = false, read = 0, written = 0 }: JobNews,
  most: MostTokens,
  now: number,
): JobWatch => {
  const isNew =
    (started && !watch.started) ||
    (read > watch.read && read <= most.read) ||
    (written > watch.written && written <= most.written)
  return isNew
    ? {
        at: now,
        started: watch.started || started,
        read: Math.max(watch.read, read),
        written: Math.max(watch.written, written),
      }
    : watch
}
