/**
 * Every option of every Mesh program, once: its records are in `options/`, by subject. The command line, environment
 * variables, `--help` and docs/cli.md derive from them; this file is the only reader of `process.env`.
 *
 * Precedence: flag, then environment variable, then default.
 */
import type { OptionRecord } from './options/record.ts'
import { appOptions } from './options/apps.ts'
import { backgroundOptions } from './options/background.ts'
import { benchOptions } from './options/bench.ts'
import { computeOptions } from './options/compute.ts'
import { demoOptions } from './options/demo.ts'
import { inferenceOptions } from './options/inference.ts'
import { modelOptions } from './options/models.ts'
import { policyOptions } from './options/policies.ts'
import { poolOptions } from './options/pools.ts'
import { serviceOptions } from './options/services.ts'
import { MeshError, problemOf } from './errors.ts'
import { parseBytes, parseDuration } from './units.ts'
import { formatBytes, formatDuration } from './words.ts'

export { defaultPorts } from './options/services.ts'

export const optionTable = {
  ...poolOptions,
  ...backgroundOptions,
  ...appOptions,
  ...modelOptions,
  ...inferenceOptions,
  ...serviceOptions,
  ...computeOptions,
  ...policyOptions,
  ...benchOptions,
  ...demoOptions,
} as const

export type OptionName = keyof typeof optionTable
type Table = typeof optionTable
type ValueOf<R> = R extends { type: 'switch' }
  ? boolean
  : R extends { type: 'integer' | 'number' | 'duration' | 'bytes' }
    ? number
    : R extends { type: 'list' }
      ? string[]
      : R extends { type: 'integers' }
        ? number[]
        : string
type Always<R> = R extends { default: unknown } | { type: 'switch' | 'list' } ? true : false

/** Values of the named options: those with a default are always there, the others may be undefined. */
export type OptionValues<Name extends OptionName> = {
  [N in Name]: Always<Table[N]> extends true ? ValueOf<Table[N]> : ValueOf<Table[N]> | undefined
}

export const optionRecord = (name: OptionName): OptionRecord => optionTable[name]

/** The kinds of numbers: how they are read, and how their limits are told. */
const numberKinds: Readonly<
  Record<
    'integer' | 'number' | 'duration' | 'bytes',
    { readonly what: string; read(text: string): number; tell(value: number): string }
  >
> = {
  integer: { what: 'a whole number', read: Number, tell: String },
  number: { what: 'a number', read: Number, tell: String },
  duration: { what: 'a duration', read: parseDuration, tell: formatDuration },
  bytes: { what: 'a size', read: parseBytes, tell: formatBytes },
}

const readNumber = (flag: string, read: (text: string) => number, text: string): number => {
  try {
    return text.trim() === '' ? NaN : read(text)
  } catch (error) {
    throw new MeshError('usage', { problem: `${flag}: ${problemOf(error)}` }, error)
  }
}

const parseNumber = (
  { flag, min = -Infinity, max = Infinity }: OptionRecord,
  kind: keyof typeof numberKinds,
  text: string,
): number => {
  const { what, read, tell } = numberKinds[kind]
  const value = readNumber(flag, read, text)
  const whole = kind === 'number' || Number.isInteger(value)
  if (!Number.isFinite(value) || !whole || value < min || value > max) {
    const range = Number.isFinite(max)
      ? ` from ${tell(min)} to ${tell(max)}`
      : Number.isFinite(min)
        ? ` of at least ${tell(min)}`
        : ''
    throw new MeshError('usage', { problem: `${flag} wants ${what}${range}, got "${text}"` })
  }
  return value
}

const parseText = (record: OptionRecord, text: string): string | number | number[] | boolean => {
  if (record.type === 'integers') return text.split(',').map((part) => parseNumber(record, 'integer', part))
  if (record.type === 'switch') return text !== '' && text !== '0' && text !== 'false'
  if (record.type === 'string' || record.type === 'list') {
    if (record.choices && !record.choices.includes(text)) {
      throw new MeshError('usage', {
        problem: `${record.flag} wants one of ${record.choices.join(', ')}, got "${text}"`,
      })
    }
    if (record.form && !record.form.matches(text))
      throw new MeshError('usage', { problem: `${record.flag} wants ${record.form.name}, got "${text.slice(0, 300)}"` })
    return text
  }
  return parseNumber(record, record.type, text)
}

/**
 * Reads the named options.
 * @param given what the command line said: raw text per option, `true` for a switch, an array for a list
 * @param defaults of this program, where they differ from the table
 * @throws MeshError `usage` naming the flag, what it wants and what it got
 */
export const readOptions = <Name extends OptionName>(
  names: readonly Name[],
  given: Partial<Record<string, string | boolean | string[]>>,
  env: NodeJS.ProcessEnv = process.env,
  defaults: Partial<Record<string, string>> = {},
): OptionValues<Name> => {
  const values: Partial<Record<OptionName, unknown>> = {}
  for (const name of names) {
    const record: OptionRecord = optionTable[name]
    const fromEnv = record.env === undefined ? undefined : env[record.env]
    const raw = given[name] ?? (fromEnv === '' ? undefined : fromEnv) ?? defaults[name] ?? record.default
    if (record.type === 'list') {
      // only a list in one string is trimmed: spaces and line ends mean something in a stop string
      const parts = Array.isArray(raw) ? raw : typeof raw === 'string' ? raw.split(',').map((text) => text.trim()) : []
      values[name] = parts.map((text) => parseText(record, text))
    } else if (typeof raw === 'boolean') values[name] = raw
    else if (raw !== undefined && !Array.isArray(raw)) values[name] = parseText(record, String(raw))
    else if (record.type === 'switch') values[name] = false
  }
  return values as OptionValues<Name>
}

/** True when the command line or the environment names the value, false when it is the default. */
export const isOptionGiven = (
  name: OptionName,
  given: Partial<Record<string, unknown>>,
  env: NodeJS.ProcessEnv = process.env,
): boolean => {
  const { env: variable } = optionRecord(name)
  return given[name] !== undefined || (variable !== undefined && !!env[variable])
}

/** The folder that holds all state: `MESHNET_HOME`, or `.meshnet` in the user's home folder (`undefined` here). */
export const homeFromEnvironment = (env: NodeJS.ProcessEnv = process.env): string | undefined =>
  env.MESHNET_HOME || undefined

/** How people call this program: through npm in a clone (`npm run mesh -- ...`), else by its name. */
export const ownCommand = (env: NodeJS.ProcessEnv = process.env): string =>
  ['mesh', 'demo'].includes(env.npm_lifecycle_event ?? '') ? 'npm run --silent mesh --' : 'mesh'

/** Folder of the user's settings, where one is named: https://specifications.freedesktop.org/basedir-spec */
export const configFolderFromEnvironment = (env: NodeJS.ProcessEnv = process.env): string | undefined =>
  env.XDG_CONFIG_HOME || undefined

/** Folders in which programs are looked up. */
export const pathFromEnvironment = (env: NodeJS.ProcessEnv = process.env): string => env.PATH ?? ''

/** True when the output should carry no colour: https://no-color.org */
export const colourWanted = (env: NodeJS.ProcessEnv = process.env): boolean => !env.NO_COLOR && env.TERM !== 'dumb'

/**
 * Width that text may have where no terminal tells its own:
 * https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap08.html
 */
export const columnsFromEnvironment = (env: NodeJS.ProcessEnv = process.env): number | undefined =>
  /^[1-9]\d{0,3}$/.test(env.COLUMNS ?? '') ? Number(env.COLUMNS) : undefined

const secretVariables = new Set<string>([optionTable.apiKey.env, optionTable.apiKeyFile.env])

/**
 * The environment for a Mesh process that lives in another home: ours without the variables of Mesh, so that nothing
 * set for this one (a pool, a port, a key) leaks into it.
 */
export const environmentFor = (home: string, env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv => ({
  ...Object.fromEntries(
    Object.entries(env).filter(([name]) => !name.startsWith('MESHNET_') && !secretVariables.has(name)),
  ),
  MESHNET_HOME: home,
})
