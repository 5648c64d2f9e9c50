/** How far the weights of a model are read: a bar in a terminal, else a line now and then. */
import type { CommandContext } from './command.ts'
import { createProgressLine, loadText } from './progress.ts'

/** Milliseconds between lines where no terminal shows a bar: nobody shall think that it hangs. */
const lineMs = 10_000

export interface ReadingText {
  show(bytes: number, totalBytes: number): void
  /** Removes the bar. */
  end(): void
}

export const createReadingText = ({ stderr, now }: Pick<CommandContext, 'stderr' | 'now'>): ReadingText => {
  const line = createProgressLine(stderr)
  let lastAt = now()
  let shown = false
  return {
    show: (bytes, totalBytes) => {
      const state = { progress: bytes / totalBytes, loading: { phase: 'checking', bytes, totalBytes } } as const
      if (stderr.isTTY) {
        line.show(state)
        shown = true
      } else if (now() - lastAt >= lineMs) {
        lastAt = now()
        stderr.write(`${loadText(state, stderr)}\n`)
      }
    },
    end: () => {
      if (shown) line.end()
    },
  }
}
