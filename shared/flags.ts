/** Flags of the programs that `mesh` starts as processes, read from the option table. */
import type { parseArgs } from 'node:util'
import { MeshError, problemOf } from './errors.ts'
import { type OptionName, optionRecord, type OptionValues, readOptions } from './options.ts'
import { type ProgramName, type ProgramOptions, programOptions, type ProgramValues } from './program-options.ts'

type Given = Partial<Record<string, string | boolean | string[]>>

export interface FlagSource {
  /** Default: the command line of this process. */
  readonly args?: string[]
  /**
   * Text of options that neither flag nor environment names, for example from a file that a flag (in `given`) names.
   */
  defaults?(given: Given): Partial<Record<string, string>>
}

/** @throws MeshError `usage` for an unknown flag or a bad value */
export const parseFlags = <Name extends OptionName>(
  names: readonly Name[],
  parse: typeof parseArgs,
  { args, defaults }: FlagSource = {},
): OptionValues<Name> => {
  const flagOf = (name: Name): string => optionRecord(name).flag.slice(2)
  const kinds = Object.fromEntries(
    names.map((name) => [
      flagOf(name),
      {
        type: optionRecord(name).type === 'switch' ? ('boolean' as const) : ('string' as const),
        multiple: optionRecord(name).type === 'list',
      },
    ]),
  )
  let values: Record<string, string | boolean | (string | boolean)[] | undefined>
  try {
    values = parse({ options: kinds, strict: true, ...(args ? { args } : {}) }).values
  } catch (error) {
    throw new MeshError('usage', { problem: problemOf(error) }, error)
  }
  const given: Given = Object.fromEntries(
    names.map((name) => [name, values[flagOf(name)] as string | boolean | string[] | undefined]),
  )
  return readOptions(names, given, undefined, defaults?.(given))
}

/** Flags of a program, with its own defaults below those of the source. @throws MeshError `usage` */
export const parseProgram = <Program extends ProgramName>(
  program: Program,
  parse: typeof parseArgs,
  { args, defaults }: FlagSource = {},
): ProgramValues<Program> => {
  const { options, defaults: own }: ProgramOptions = programOptions[program]
  const values = parseFlags([...options, 'logLevel'], parse, {
    args,
    defaults: (given) => {
      const texts = Object.entries(own).map(([name, value]) => [name, String(value)])
      const known = Object.entries(defaults?.(given) ?? {}).filter(([, text]) => text !== undefined)
      return Object.fromEntries([...texts, ...known]) as Partial<Record<string, string>>
    },
  })
  return values as unknown as ProgramValues<Program>
}
