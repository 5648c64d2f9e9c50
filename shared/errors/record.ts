/**
 * What a failure says and means: the HTTP status, the exit code of the CLI, the text (with `{field}` holes, or
 * `{field|default}`) and a hint that names the next command.
 */
export interface ErrorRecord {
  readonly status: number
  readonly exit: number
  readonly text: string
  readonly hint: string
}
