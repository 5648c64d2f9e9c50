/**
 * What computes on this machine for this user: one small file for each compute unit, whatever home its agent has, so
 * that agents share the cores. A unit of another user or in another container is not seen here; its load is.
 */
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { isSameProcessAlive, processMark } from '../../shared/process-alive.ts'

export const ComputeUnit = Type.Object({
  /** What computes: a compute process, or the agent itself. */
  pid: Type.Integer({ minimum: 1 }),
  /** Tells this process from a later one of the same id; absent where the system does not tell. */
  mark: Type.Optional(Type.String()),
  /** In which the pid counts: containers may share this folder and not their processes. Absent where there is one. */
  namespace: Type.Optional(Type.String()),
  /** The agent that it computes for. */
  agent: Type.Integer({ minimum: 1 }),
  /** Threads that it has work for. */
  wanted: Type.Integer({ minimum: 1 }),
  /** Processors that it may run on; absent: all. */
  cpus: Type.Optional(Type.Array(Type.Integer({ minimum: 0 }))),
  /** Control groups with a quota that it is in. */
  groups: Type.Array(Type.String()),
})
export type ComputeUnit = Type.Static<typeof ComputeUnit>

/** A unit's file is small; more is not ours. */
const maxBytes = 64 * 1024
const maxUnits = 256
/** What is no unit, or one of another namespace, of which nobody here knows whether it lives, is kept so long. */
const keptMs = 24 * 3600 * 1000

const userName = (): string => {
  try {
    return String(process.getuid?.() ?? userInfo().username)
  } catch {
    return 'user'
  }
}

/** `undefined` where the system has one for all. */
const pidNamespace = (): string | undefined => {
  try {
    return readlinkSync('/proc/self/ns/pid')
  } catch {
    return undefined
  }
}

export const computeUnitsFolder = (): string => join(tmpdir(), `meshnet-units-${userName()}`)

/** True when the folder is ours alone: in a folder for everybody somebody else may have made it. */
const isOurs = (folder: string): boolean => {
  const stat = lstatSync(folder)
  return (
    stat.isDirectory() && (process.getuid === undefined || (stat.uid === process.getuid() && (stat.mode & 0o022) === 0))
  )
}

export class ComputeUnits {
  readonly #folder: string
  readonly #namespace = pidNamespace()

  constructor(folder: string = computeUnitsFolder()) {
    this.#folder = folder
  }

  /** Tells the others; again when they are told already. @returns why they cannot be told, if so */
  add(unit: Omit<ComputeUnit, 'mark' | 'namespace'>): string | undefined {
    const file = this.#file(unit.pid)
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
      if (!isOurs(this.#folder)) return `${this.#folder} belongs to somebody else`
      const mark = processMark(unit.pid)
      const content = JSON.stringify({ ...unit, mark, namespace: this.#namespace } satisfies ComputeUnit)
      if (read(file) !== content) writeFileSync(file, content, { mode: 0o600 })
      return undefined
    } catch (error) {
      return error instanceof Error ? error.message : String(error)
    }
  }

  remove(pid: number): void {
    rmSync(this.#file(pid), { force: true })
  }

  /** Units whose process runs. */
  list(): ComputeUnit[] {
    try {
      if (!isOurs(this.#folder)) return []
      const files = readdirSync(this.#folder).filter((name) => /^\d+\.json$/.test(name))
      return files.slice(0, maxUnits).flatMap((name) => this.#read(join(this.#folder, name)))
    } catch {
      return []
    }
  }

  #read(file: string): ComputeUnit[] {
    const unit = parse(read(file))
    const isHere = unit?.namespace === this.#namespace
    if (unit && isHere && isSameProcessAlive(unit)) return [unit]
    try {
      if ((unit && isHere) || Date.now() - statSync(file).mtimeMs > keptMs) rmSync(file, { force: true })
    } catch {
      // its unit took it away meanwhile
    }
    return []
  }

  #file(pid: number): string {
    return join(this.#folder, `${pid}.json`)
  }
}

const read = (file: string): string | undefined => {
  try {
    return lstatSync(file).size > maxBytes ? undefined : readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

/** A file that is half written says nothing yet. */
const parse = (text: string | undefined): ComputeUnit | undefined => {
  try {
    const unit: unknown = JSON.parse(text ?? '')
    return Value.Check(ComputeUnit, unit) ? unit : undefined
  } catch {
    return undefined
  }
}
