/** Bytes and durations, parsed from what people type and printed for people. */
import { MeshError } from './errors.ts'

/** Longest delay of a timer: what is further away is looked at again then. */
export const longestTimerMs = 2 ** 31 - 1

const byteUnits: Record<string, number> = { b: 1, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40 }
const durationUnits: Record<string, number> = { ms: 1, s: 1e3, m: 60e3, h: 3600e3, d: 86400e3 }

const parseUnit = (what: string, example: string, units: Record<string, number>, text: string): number => {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text)
  const name = match?.[2].toLowerCase() || Object.keys(units)[0]
  const unit = Object.hasOwn(units, name) ? units[name] : undefined
  if (!match || unit === undefined) throw new MeshError('usage', { problem: `"${text}" is not a ${what} (example: ${example})` })
  return Math.round(Number(match[1]) * unit)
}

/** `7GB`, `512 MiB`, `1024` (bytes) -> bytes. */
export const parseBytes = (text: string): number => parseUnit('size', '7GB', byteUnits, text)
/** `24h`, `5s`, `250ms`, `250` (milliseconds) -> milliseconds. */
export const parseDuration = (text: string): number => parseUnit('duration', '24h', durationUnits, text)

/** Bytes with three digits at most: `12.9 MB`. */
export const formatBytes = (bytes: number): string => {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let index = 0
  let value = bytes
  while (value >= 999.5 && index < units.length - 1) {
    value /= 1000
    index++
  }
  return `${value >= 100 || index === 0 ? Math.round(value) : Number(value.toPrecision(3))} ${units[index]}`
}

/** Milliseconds with the unit a person would choose: `340 ms`, `2.1 s`, `3 m 20 s`. */
export const formatDuration = (ms: number): string => {
  // rounded to the smaller unit first: 119.9 s are 2 m 0 s, not 1 m 60 s
  if (ms < 999.5) return `${Math.round(ms)} ms`
  if (ms < 59.95e3) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${seconds % 60} s`
  const minutes = Math.round(ms / 60e3)
  return `${Math.floor(minutes / 60)} h ${minutes % 60} m`
}
