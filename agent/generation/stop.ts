/** Stop strings, found across token borders: text that may be the beginning of one is held back. */
export interface StopMatcher {
  /** @returns text that may be shown, up to before the stop string when one was found */
  push(text: string): { readonly text: string; readonly stopped: boolean }
  /** Text held back until the end, after a last piece; a stop string in it still ends the text. */
  finish(text: string): string
}

/** Length of the longest end of `text` that is the beginning of a stop string. */
const heldLength = (text: string, stops: readonly string[]): number => {
  let held = 0
  for (const stop of stops) {
    for (let length = Math.min(stop.length - 1, text.length); length > held; length--) {
      if (text.endsWith(stop.slice(0, length))) {
        held = length
        break
      }
    }
  }
  return held
}

export const createStopMatcher = (stops: readonly string[]): StopMatcher => {
  let waiting = ''
  let stopped = false
  const push = (text: string): { readonly text: string; readonly stopped: boolean } => {
    if (stopped) return { text: '', stopped }
    waiting += text
    const found = stops.map((stop) => waiting.indexOf(stop)).filter((at) => at >= 0)
    if (found.length > 0) {
      stopped = true
      const shown = waiting.slice(0, Math.min(...found))
      waiting = ''
      return { text: shown, stopped }
    }
    const safe = waiting.length - heldLength(waiting, stops)
    const shown = waiting.slice(0, safe)
    waiting = waiting.slice(safe)
    return { text: shown, stopped }
  }
  return {
    push,
    finish: (text) => {
      const last = push(text)
      const rest = waiting
      waiting = ''
      return last.text + rest
    },
  }
}
