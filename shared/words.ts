/** Sizes, durations and times as people read them, the same everywhere. */

const byteUnits = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const

/** Bytes with three digits at most: `12.9 MB`. */
export const formatBytes = (bytes: number): string => {
  let index = 0
  let value = bytes
  while (value >= 999.5 && index < byteUnits.length - 1) {
    value /= 1000
    index++
  }
  return `${value >= 100 || index === 0 ? Math.round(value) : Number(value.toPrecision(3))} ${byteUnits[index]}`
}

/** Two units, of which the smaller one is left out when there is nothing of it. */
const inTwo = (count: number, perLarge: number, [large, small]: readonly [string, string]): string => {
  const rest = count % perLarge
  return `${Math.floor(count / perLarge)} ${large}${rest === 0 ? '' : ` ${rest} ${small}`}`
}

/** Milliseconds in the units a person would choose: `340 ms`, `2.1 s`, `3 min 20 s`, `24 h`, `6 d 23 h`. */
export const formatDuration = (ms: number): string => {
  // rounded to the smaller unit first: 119.9 s are 2 min, not 1 min 60 s
  if (ms < 999.5) return `${Math.round(ms)} ms`
  if (ms < 59.95e3) return `${Number((ms / 1000).toFixed(1))} s`
  const seconds = Math.round(ms / 1000)
  if (seconds < 3600) return inTwo(seconds, 60, ['min', 's'])
  const minutes = Math.round(ms / 60e3)
  if (minutes < 48 * 60) return inTwo(minutes, 60, ['h', 'min'])
  return inTwo(Math.round(ms / 3600e3), 24, ['d', 'h'])
}

/** Milliseconds since 1970 as `2027-01-31 09:00 UTC`: the same for everybody who is told. */
export const formatTime = (time: number): string => `${new Date(time).toISOString().slice(0, 16).replace('T', ' ')} UTC`

/**
 * A value by what its name says of it: `waitMs`, `seconds` and `retryAfterSeconds` are durations, `limitBytes` is a
 * size, `notAfter` and `expiresAt` are times. Anything else, and every text, is as it is.
 */
export const inWords = (name: string, value: string | number): string => {
  if (typeof value !== 'number' || !Number.isFinite(value)) return String(value)
  if (name.endsWith('Ms')) return formatDuration(value)
  if (/^seconds$|Seconds$/.test(name)) return formatDuration(1000 * value)
  if (/^bytes$|Bytes$/.test(name)) return formatBytes(value)
  return /(?:At|After)$/.test(name) ? formatTime(value) : String(value)
}
