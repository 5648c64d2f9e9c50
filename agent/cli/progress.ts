/** How far the loading of a shard is: a bar in a terminal, words elsewhere; and a line that follows along. */
import type { Loading } from '../../shared/schema/ring.ts'
import { formatBytes } from '../../shared/words.ts'
import type { Output } from './command.ts'

const barWidth = 20

export interface LoadState {
  /** 0 to 1 */
  readonly progress: number
  readonly loading?: Loading
}

const phaseText = ({ phase, bytes, totalBytes }: Loading): string =>
  phase === 'linking'
    ? 'waiting for the other ranks'
    : `${phase} ${formatBytes(Math.min(bytes, totalBytes))} of ${formatBytes(totalBytes)}`

/** `loading 41%, quantising 130 MB of 316 MB`, with a bar instead of the first word in a terminal. */
export const loadText = ({ progress, loading }: LoadState, { isTTY }: Pick<Output, 'isTTY'>): string => {
  const full = Math.round(progress * barWidth)
  const what = isTTY ? `[${'#'.repeat(full)}${'.'.repeat(barWidth - full)}]` : 'loading'
  return `${what} ${Math.floor(progress * 100)}%${loading ? `, ${phaseText(loading)}` : ''}`
}

export interface ProgressLine {
  show(state: LoadState): void
  /** Removes it. */
  end(): void
}

/** A bar in a terminal that is redrawn in its place. */
export const createProgressLine = (terminal: Output): ProgressLine => ({
  show: (state) => {
    terminal.control('\r')
    terminal.write([...loadText(state, terminal)].slice(0, Math.max(0, terminal.columns - 1)).join(''))
    terminal.control('\u001b[K')
  },
  end: () => terminal.control('\r\u001b[K'),
})
