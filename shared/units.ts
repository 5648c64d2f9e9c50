/** Bytes and durations, parsed from what people type. How they are printed: `words.ts`. */
import { MeshError } from './errors.ts'

/** Longest delay of a timer: what is further away is looked at again then. */
export const longestTimerMs = 2 ** 31 - 1

const byteUnits: Record<string, number> = {
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
}
const durationUnits: Record<string, number> = { ms: 1, s: 1e3, m: 60e3, min: 60e3, h: 3600e3, d: 86400e3 }

const parseUnit = (what: string, example: string, units: Record<string, number>, text: string): number => {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text)
  const name = match?.[2].toLowerCase() || Object.keys(units)[0]
  const unit = Object.hasOwn(units, name) ? units[name] : undefined
  if (!match || unit === undefined)
    throw new MeshError('usage', { problem: `"${text}" is not a ${what} (example: ${example})` })
  return Math.round(Number(match[1]) * unit)
}

/** `7GB`, `512 MiB`, `1024` (bytes) -> bytes. */
export const parseBytes = (text: string): number => parseUnit('size', '7GB', byteUnits, text)
/** `24h`, `5s`, `250ms`, `250` (milliseconds) -> milliseconds. */
export const parseDuration = (text: string): number => parseUnit('duration', '24h', durationUnits, text)
