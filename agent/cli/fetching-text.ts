/** How far the files of a model are fetched: one line that is redrawn in a terminal, else a line now and then. */
import { formatBytes } from '../../shared/words.ts'
import type { CommandContext } from './command.ts'

const redrawMs = 100
/** Where no terminal shows it: nobody shall think that it hangs. */
const lineMs = 10_000

export const createFetchingText = ({
  stderr,
  now,
}: Pick<CommandContext, 'stderr' | 'now'>): { show(bytes: number, totalBytes: number): void; end(): void } => {
  const begun = now()
  let [lastAt, first] = [begun, -1]
  let shown = false
  return {
    show: (bytes, totalBytes) => {
      const time = now()
      if (first < 0) first = bytes
      if (time - lastAt < (stderr.isTTY ? redrawMs : lineMs)) return
      lastAt = time
      const rate = ((bytes - first) / Math.max(1, time - begun)) * 1000
      const text =
        `fetching ${formatBytes(bytes)} of ${formatBytes(totalBytes)} ` +
        `(${Math.floor((100 * bytes) / Math.max(1, totalBytes))}%), ${formatBytes(Math.max(0, rate))}/s`
      if (!stderr.isTTY) {
        stderr.write(`${text}\n`)
        return
      }
      stderr.control('\r')
      stderr.write(text.slice(0, Math.max(0, stderr.columns - 1)))
      stderr.control('\u001b[K')
      shown = true
    },
    end: () => {
      if (shown) stderr.control('\r\u001b[K')
      shown = false
    },
  }
}
