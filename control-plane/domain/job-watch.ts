/** Whether rank 0 gets on with a job: as long as it reads or writes tokens, that may take as long as it takes. */

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

export const jobWatchFrom = (now: number): JobWatch => ({ at: now, read: 0, written: 0, started: false })

/** @param most tokens that the context holds, and that the job may write */
export const jobWatched = (
  watch: JobWatch,
  { started = false, read = 0, written = 0 }: JobNews,
  most: { readonly read: number; readonly written: number },
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
