/** Where weights lie, in whatever format the file is: tensors as byte ranges of open files. */
import { type BigIntStats, closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { MeshError, problemOf } from '../../shared/errors.ts'

export interface TensorInfo {
  readonly name: string
  /** As the file says: `F32`, `BF16`, `Q4_K`, ... */
  readonly dtype: string
  /** As Hugging Face has them, [..., out, in]: the last one lies one behind the other, also where the file is GGUF. */
  readonly dims: readonly number[]
  /** Byte range in the file. */
  readonly start: number
  readonly end: number
  readonly file: ByteSource
}

/** What data of tensors is read from. */
export interface ByteSource {
  readonly path: string
  /**
   * Reads exactly `into.length` bytes.
   * @throws MeshError `safetensorsInvalid` | `ggufInvalid` when the file ends early
   */
  read(into: Uint8Array, position: number): void
}

/** The file is not what its format asks for. @returns MeshError `safetensorsInvalid` | `ggufInvalid`, by its ending */
export const damagedFile = (file: string, problem: string, cause?: unknown): MeshError =>
  new MeshError(file.toLowerCase().endsWith('.gguf') ? 'ggufInvalid' : 'safetensorsInvalid', { file, problem }, cause)

const stampOf = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string =>
  [dev, ino, size, mtimeNs, ctimeNs].join(':')

/** One open file. */
export class TensorFile implements ByteSource {
  readonly path: string
  readonly size: number
  /**
   * Which file it is and when it was last changed. A program can give a changed file its old time of modification
   * (cp -p, rsync), but not its old time of change (ctime).
   */
  readonly stamp: string
  /** Milliseconds since 1970 of the last change of any kind. */
  readonly changedAt: number
  readonly #handle: number
  #closed = false

  /** @throws MeshError `modelFileUnreadable` */
  constructor(path: string) {
    this.path = path
    try {
      this.#handle = openSync(path, 'r')
    } catch (error) {
      throw new MeshError('modelFileUnreadable', { file: path, problem: problemOf(error) }, error)
    }
    const stat = fstatSync(this.#handle, { bigint: true })
    this.size = Number(stat.size)
    this.stamp = stampOf(stat)
    this.changedAt = Number(stat.ctimeMs > stat.mtimeMs ? stat.ctimeMs : stat.mtimeMs)
    if (stat.isFile()) return
    this.close()
    throw new MeshError('modelFileUnreadable', { file: path, problem: 'it is no file' })
  }

  /** Nothing was written to it since it was opened. */
  isUnchanged(): boolean {
    return stampOf(fstatSync(this.#handle, { bigint: true })) === this.stamp
  }

  /** The file that is now found at its path is this one, unchanged. */
  isInPlace(): boolean {
    const stat = statSync(this.path, { bigint: true, throwIfNoEntry: false })
    return stat !== undefined && stampOf(stat) === this.stamp
  }

  /**
   * Reads exactly `into.length` bytes.
   * @throws MeshError `safetensorsInvalid` | `ggufInvalid` when the file ends early
   */
  read(into: Uint8Array, position: number): void {
    for (let at = 0; at < into.length;) {
      const got = readSync(this.#handle, into, at, into.length - at, position + at)
      if (got === 0) throw damagedFile(this.path, `it ends before byte ${position + into.length}`)
      at += got
    }
  }

  close(): void {
    if (!this.#closed) closeSync(this.#handle)
    this.#closed = true
  }
}

/** All tensors of a model. */
export interface TensorStore {
  readonly tensors: ReadonlyMap<string, TensorInfo>
  readonly files: readonly TensorFile[]
  readonly bytes: number
  close(): void
}
