/**
 * Generated text with a status line below it that follows along.
 *
 * Where text and status share a terminal, the status lives on the line under the cursor: it is erased before text is
 * written and drawn again after it, with the cursor put back. IND (ESC D) makes room without leaving the column, also
 * on the last line of the screen. Where stdout is no terminal the status has its line for itself; where stderr is
 * none there is no status.
 */
import { stripVTControlCharacters } from 'node:util'
import type { Output } from './command.ts'

const escape = '\u001b'
const eraseBelow = `${escape}[J`
const lineBelow = `${escape}D${escape}[1A${escape}7${escape}[1B\r`
const cursorBack = `${escape}8`

/** Milliseconds between two redraws without new text. */
const redrawMs = 100

export interface LiveText {
  text(part: string): void
  status(line: string): void
  /** Removes the status and ends the last line of the text. */
  end(): void
}

export const createLiveText = (stdout: Output, stderr: Output, now: () => number): LiveText => {
  const shared = stdout.isTTY && stderr.isTTY
  let status = ''
  let drawnAt = -Infinity
  let drawn = false
  /** Characters since the last line end. Wide ones count as one: then the status may flicker, the text stays whole. */
  let column = 0

  // a terminal that waits at its right edge for the next character forgets that when the cursor moves
  const atEdge = (): boolean => column > 0 && column % stdout.columns === 0

  const erase = (): void => {
    if (!drawn) return
    stderr.control(shared ? eraseBelow : `\r${escape}[K`)
    drawn = false
  }
  const draw = (): void => {
    if (!stderr.isTTY || status === '' || (shared && atEdge())) return
    const line = [...status].slice(0, Math.max(0, stderr.columns - 1)).join('')
    stderr.control(shared ? `${lineBelow}${escape}[2m` : `\r${escape}[K`)
    stderr.write(line)
    if (shared) stderr.control(`${escape}[22m${cursorBack}`)
    drawn = true
    drawnAt = now()
  }
  return {
    text: (part) => {
      if (shared) erase()
      stdout.write(part)
      const lineEnd = part.lastIndexOf('\n')
      column = (lineEnd < 0 ? column : 0) + Array.from(stripVTControlCharacters(part.slice(lineEnd + 1))).length
      if (shared) draw()
    },
    status: (line) => {
      const changed = line !== status
      status = line
      if (!changed || (drawn && now() - drawnAt < redrawMs)) return
      erase()
      draw()
    },
    end: () => {
      erase()
      status = ''
      if (column > 0) stdout.write('\n')
      column = 0
    },
  }
}
