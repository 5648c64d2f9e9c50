/** What a command of `mesh` is, and what it is given. */
import type { Readable } from 'node:stream'
import type { Static, TSchema } from 'typebox'
import type { Home } from '../../shared/home.ts'
import type { DestinationStream, Logger } from '../../shared/log.ts'
import type { OptionName, OptionValues } from '../../shared/options.ts'
import { jsonLine, jsonText, type Printable } from '../../shared/printed.ts'
import type { Part } from './installed-parts.ts'

/** A terminal, a pipe or a test. */
export interface RawOutput {
  write(text: string): void
  readonly isTTY: boolean
  /** Width of the terminal, or of COLUMNS; a pipe has none, and lines stay whole. */
  readonly columns: number
}

/** What commands print to: on a terminal, text is shown and does nothing else, whoever wrote it. */
export interface Output extends RawOutput {
  /** Sequences of ours that steer the terminal, with no text of anybody in them. */
  control(sequence: string): void
}

/** The command that started this process and returns when it is ready. */
export interface BackgroundParent {
  ready(info: object): void
}

/** Standard input: a terminal, a pipe, a file or a test. */
export interface Input {
  readonly isTTY: boolean
  /** A pipe or socket whose writer may leave it open without writing. */
  readonly mayIdle: boolean
  /** Gives buffers; made when it is first asked for. */
  readonly stream: Readable
}

/** Everything a command may touch besides its options. */
export interface CommandContext {
  readonly home: Home
  readonly stdin: Input
  readonly stdout: Output
  readonly stderr: Output
  /** True when escape sequences are welcome on stdout. */
  readonly colour: boolean
  readonly now: () => number
  readonly fetch: typeof fetch
  readonly logger: Logger
  /** Aborted by Ctrl-C and by SIGTERM. */
  readonly signal: AbortSignal
  /** True for an option that the command line or the environment names: its value is no default. */
  isGiven(name: OptionName): boolean
  /** In a process that `-d` made: whoever started it waits to hear that it is ready. */
  readonly background?: BackgroundParent
  /** Where programs log to that run inside the command; default: stderr. */
  readonly logDestination?: DestinationStream
  /** What stood after the name of the command. */
  readonly rawArguments: readonly string[]
}

type Defaults = { readonly [Name in OptionName]?: string | number }

export interface Command {
  readonly name: string
  readonly summary: string
  /** Paragraphs for `--help`, besides the summary. */
  readonly details?: string
  readonly options: readonly OptionName[]
  readonly required: readonly OptionName[]
  /** An option whose flag may be left out: its value may stand alone. */
  readonly bare?: OptionName
  /** Defaults of this command where they differ from the option table. */
  readonly defaults: Defaults
  /** Parts of Mesh that it runs besides the command line: some machines lack them. */
  readonly needs: readonly Part[]
  /** Whole command lines. */
  readonly examples: readonly string[]
  /** What `--json` prints, in the names of the code (`shared/printed.ts`): of a service its ready line. */
  readonly json: TSchema
  /** A service ends with exit code 0 when it is told to stop; other commands end with 130. */
  readonly service: boolean
  run(context: CommandContext, values: OptionValues<OptionName>): Promise<number | void>
}

type Values<Name extends OptionName, Sure extends Name> = OptionValues<Name> & {
  [N in Sure]: NonNullable<OptionValues<Name>[N]>
}

/** Prints the one answer of `--json`: what the command declared, and nothing else. */
interface Printer<Json extends TSchema> {
  printJson(value: Printable<Static<Json>>): void
}

interface Declaration<Name extends OptionName, Required extends Name, Default extends Name, Json extends TSchema> {
  readonly name: string
  readonly summary: string
  readonly details?: string
  readonly options: readonly Name[]
  readonly required?: readonly Required[]
  readonly bare?: Name
  readonly defaults?: { readonly [N in Default]: string | number }
  readonly needs?: readonly Part[]
  readonly examples: readonly string[]
  readonly json: Json
  readonly service?: boolean
  run(
    context: CommandContext & Printer<Json>,
    values: Values<Name | 'logLevel', Required | Default>,
  ): Promise<number | void>
}

/**
 * Checks the declaration of a command: `run` sees the options it named, required ones are there, and it prints the JSON
 * it declared.
 */
export const defineCommand = <
  const Name extends OptionName,
  const Json extends TSchema,
  const Required extends Name = never,
  const Default extends Name = never,
>(
  declaration: Declaration<Name, Required, Default, Json>,
): Command => {
  const { json, service = false } = declaration
  return {
    required: [],
    defaults: {},
    needs: [],
    ...declaration,
    service,
    options: [...declaration.options, 'logLevel'],
    run: (context, values) => {
      const printJson = (value: unknown): void =>
        void context.stdout.write(service ? jsonLine(json, value) : jsonText(json, value))
      return declaration.run(
        { ...context, printJson },
        values as unknown as Values<Name | 'logLevel', Required | Default>,
      )
    },
  }
}
