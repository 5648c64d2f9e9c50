/** How an option is written, read and explained. */
export interface OptionRecord {
  readonly flag: `--${string}`
  /** One letter for what is typed often. */
  readonly short?: `-${string}`
  /** How the value is shown in help; absent for a switch. */
  readonly value?: string
  readonly type: 'string' | 'integer' | 'number' | 'switch' | 'duration' | 'bytes' | 'list' | 'integers'
  readonly env?: string
  /** Not for the command line, which others can list: the flag to use instead, besides the environment. */
  readonly secret?: `--${string}`
  readonly default?: string | number | boolean
  readonly choices?: readonly string[]
  /** What a text must be. */
  readonly form?: { readonly name: string; readonly matches: (text: string) => boolean }
  readonly min?: number
  readonly max?: number
  readonly help: string
}
