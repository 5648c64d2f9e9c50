/**
 * Every failure that a user or a peer can cause, as data: one record per code, in `errors/` by subject. The docs page,
 * the HTTP responses and the CLI output derive from them. A code is never reused for another meaning.
 */

import { apiKeyErrors } from './errors/api-keys.ts'
import { controlPlaneErrors } from './errors/control-plane.ts'
import { jobErrors } from './errors/jobs.ts'
import { memoryErrors } from './errors/memory.ts'
import { modelErrors } from './errors/models.ts'
import { peerErrors } from './errors/peers.ts'
import { poolErrors } from './errors/pools.ts'
import { ringErrors } from './errors/rings.ts'
import { setupErrors } from './errors/setup.ts'
import { systemFailureOf } from './system-failure.ts'
import { oneLine } from './text.ts'
import { inWords } from './words.ts'

/** Exit codes of `mesh`: documented in ERRORS.md. */
export const exitCodes = {
  ok: 0,
  bug: 1,
  usage: 2,
  setup: 3,
  network: 4,
  data: 5,
  job: 6,
  refused: 7,
  interrupted: 130,
  unread: 141,
} as const

export const errorTable = {
  ...setupErrors,
  ...controlPlaneErrors,
  ...poolErrors,
  ...apiKeyErrors,
  ...modelErrors,
  ...ringErrors,
  ...jobErrors,
  ...memoryErrors,
  ...peerErrors,
} as const

export type ErrorCode = keyof typeof errorTable
export type ErrorFields = Readonly<Record<string, string | number>>

/** What travels over HTTP, WebSocket and libp2p when something failed. */
export interface ErrorReport {
  readonly code: ErrorCode
  readonly message: string
  readonly hint: string
  readonly fields: ErrorFields
}

/** Where to look for what is not there, by the noun of `notFound`. */
export const lookFor: Readonly<Record<string, string>> = {
  'member with the id': 'mesh pool-peers shows the members and their ids',
  'join request of device': 'mesh pool-requests shows who asks to join',
  route: 'GET /docs shows every route',
  'API key': 'mesh api-key-list shows the ids',
  pool: 'the device that made it tells the control plane of it: mesh start there, with the same --control-plane',
  'join request for pool': 'ask to join: mesh join INVITE',
}

/**
 * Fills in one line, whoever wrote the fields: `{name}`, and `{name|what stands where it is not known}`; durations,
 * sizes and times in words (`inWords`).
 */
export const fill = (template: string, fields: ErrorFields): string =>
  template.replace(/\{(\w+)(?:\|([^}]*))?\}/g, (hole, name: string, otherwise?: string) =>
    name in fields ? oneLine(inWords(name, fields[name])) : (otherwise ?? hole),
  )

const hintOf = (code: ErrorCode, fields: ErrorFields): string => {
  const { what } = fields
  const look: ErrorFields = typeof what === 'string' && Object.hasOwn(lookFor, what) ? { look: lookFor[what] } : {}
  return fill(errorTable[code].hint, { ...look, ...fields })
}

/** Characters of a text of a report, as its schema has it: what was refused may be quoted, and be of any length. */
const mostCharacters = 4000
const shortened = (text: string): string =>
  text.length > mostCharacters ? `${text.slice(0, mostCharacters - 3)}...` : text

/** A failure with a code. `message` says what went wrong with expected and got; `hint` says what to do next. */
export class MeshError extends Error {
  readonly code: ErrorCode
  readonly fields: ErrorFields
  readonly hint: string

  constructor(code: ErrorCode, fields: ErrorFields = {}, cause?: unknown) {
    super(fill(errorTable[code].text, fields), cause === undefined ? undefined : { cause })
    this.name = 'MeshError'
    this.code = code
    this.fields = fields
    this.hint = hintOf(code, fields)
  }

  /** The same failure, with a hint to the help of the command that was typed where its record leaves room for one. */
  withHelp(command: string): MeshError {
    if (!errorTable[this.code].hint.includes('{help|') || 'help' in this.fields) return this
    return new MeshError(this.code, { ...this.fields, help: `mesh ${command} --help` }, this.cause ?? this)
  }

  get status(): number {
    return errorTable[this.code].status
  }

  get exitCode(): number {
    return errorTable[this.code].exit
  }

  toReport(): ErrorReport {
    const fields = Object.entries(this.fields).map(
      ([name, value]) => [name, typeof value === 'string' ? shortened(value) : value] as const,
    )
    return {
      code: this.code,
      message: shortened(this.message),
      hint: shortened(this.hint),
      fields: Object.fromEntries(fields),
    }
  }

  /** A report of another process as it may be kept and shown: each text in one line. */
  static cleanReport<
    Report extends Partial<Omit<ErrorReport, 'code'>> & { readonly code: string; readonly message: string },
  >(report: Report): Report {
    const { code, message, hint, fields } = report
    return {
      ...report,
      code: oneLine(code),
      message: oneLine(message),
      ...(hint === undefined ? {} : { hint: oneLine(hint) }),
      ...(fields === undefined
        ? {}
        : {
            fields: Object.fromEntries(
              Object.entries(fields).map(([name, value]) => [
                oneLine(name),
                typeof value === 'string' ? oneLine(value) : value,
              ]),
            ),
          }),
    }
  }

  /** The error behind a report of another process; an unknown code (a newer peer) becomes `internal`. */
  static fromReport(report: { code: string; message: string; fields?: ErrorFields }): MeshError {
    if (Object.hasOwn(errorTable, report.code)) return new MeshError(report.code as ErrorCode, report.fields ?? {})
    return new MeshError('internal', { problem: `${report.code}: ${report.message}` })
  }

  /**
   * Any thrown value as a MeshError; what is not one already, and no matter of a disk, is a defect of ours
   * (`internal`).
   */
  static from(value: unknown): MeshError {
    if (value instanceof MeshError) return value
    const failure = systemFailureOf(value)
    if (failure) return new MeshError(failure.code, failure.fields, value)
    return new MeshError('internal', { problem: problemOf(value) }, value)
  }
}

/** What the system calls a failure, as `ENOENT`; `undefined` of anything else. */
export const systemCodeOf = (value: unknown): string | undefined =>
  value instanceof Error && !(value instanceof MeshError) && 'code' in value && typeof value.code === 'string'
    ? value.code
    : undefined

/** The message of a thrown value, for the `problem` field. */
export const problemOf = (value: unknown): string => {
  if (!(value instanceof Error)) return String(value)
  const cause = value.cause instanceof Error && value.cause.message ? ` (${value.cause.message})` : ''
  const code = 'code' in value && typeof value.code === 'string' && !value.message ? value.code : ''
  return (value.message || code || value.name) + cause
}
