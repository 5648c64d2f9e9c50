/**
 * Options of the programs that `mesh` starts as processes, once: the command shows them, the program reads them. What
 * differs from the option table is a default of the program.
 */
import { defaultPorts, type OptionName, type OptionValues } from './options.ts'

export interface ProgramOptions {
  readonly options: readonly OptionName[]
  readonly defaults: { readonly [Name in OptionName]?: string | number }
}

/** What only a benchmark of a model has. */
export const benchModelOptions = [
  'model',
  'shape',
  'types',
  'threads',
  'spin',
  'backend',
  'quant',
  'promptTokens',
  'tokens',
  'contexts',
  'sequences',
  'wire',
  'compare',
] as const satisfies readonly OptionName[]

export const programOptions = {
  controlPlane: {
    options: [
      'host',
      'port',
      'data',
      'heartbeat',
      'lease',
      'ringGrace',
      'loadTimeout',
      'settleAfter',
      'creditWindow',
      'newcomerGrace',
      'newcomerShare',
      'keepText',
      'relay',
      'plainHttp',
      'tlsCert',
      'tlsKey',
      'json',
    ],
    defaults: { port: defaultPorts.controlPlane },
  },
  relay: {
    options: ['host', 'port', 'data', 'announce', 'maxReservations', 'servedPools', 'open', 'json'],
    defaults: { port: defaultPorts.relay },
  },
  bench: {
    options: [...benchModelOptions, 'workers', 'runs', 'collective', 'carrier', 'collectives', 'rtt', 'mbit', 'json'],
    defaults: { quant: 'q4', threads: 1 },
  },
} as const satisfies Record<string, ProgramOptions>

export type ProgramName = keyof typeof programOptions

type NameIn<Program extends ProgramName> = (typeof programOptions)[Program]['options'][number] | 'logLevel'
type Values<Program extends ProgramName> = OptionValues<NameIn<Program>>
type DefaultIn<Program extends ProgramName> = keyof (typeof programOptions)[Program]['defaults'] & NameIn<Program>

/** Values of a program's options, with those of its defaults always there. */
export type ProgramValues<Program extends ProgramName> = Omit<Values<Program>, DefaultIn<Program>> & {
  [Name in DefaultIn<Program>]: NonNullable<Values<Program>[Name]>
}
