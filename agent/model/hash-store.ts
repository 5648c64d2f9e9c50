/**
 * Hashes of weights that were read whole, one file for each file of weights, so that 16 GB are read once and not at
 * every start. They hold while the file is the same one, unchanged by its time of change.
 */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { readStateJson, writeStateJson } from '../../shared/home.ts'
import { digestBytes, piecesIn } from './pieces.ts'
import type { TensorFile, TensorInfo } from './safetensors.ts'

/**
 * Milliseconds that must lie between the last change of a file and reading it: within one tick of the clock of the
 * file system (2 s on FAT) a second change would leave the same time.
 */
const settledMs = 2000

const StoredHashes = Type.Object({
  version: Type.Literal(1),
  path: Type.String(),
  stamp: Type.String(),
  tensors: Type.Array(
    Type.Object({
      name: Type.String(),
      start: Type.Integer(),
      end: Type.Integer(),
      digests: Type.String({ description: 'base64' }),
    }),
  ),
})

const fileFor = (folder: string, path: string): string =>
  join(folder, `${createHash('sha256').update(path).digest('hex').slice(0, 32)}.json`)

const readOne = (
  folder: string,
  { path, stamp }: TensorFile,
): Map<string, { start: number; end: number; digests: Uint8Array }> => {
  let stored: unknown
  try {
    stored = readStateJson(fileFor(folder, path))
  } catch {
    return new Map() // a damaged file costs reading the weights again
  }
  if (!Value.Check(StoredHashes, stored) || stored.path !== path || stored.stamp !== stamp) return new Map()
  return new Map(
    stored.tensors.map(({ name, start, end, digests }) => [
      name,
      { start, end, digests: new Uint8Array(Buffer.from(digests, 'base64')) },
    ]),
  )
}

/** Hashes of those tensors that are known, by name. */
export const readHashes = (
  folder: string,
  tensors: readonly TensorInfo[],
  files: readonly TensorFile[],
): Map<string, Uint8Array> => {
  const stored = new Map(files.map((file) => [file.path, readOne(folder, file)]))
  return new Map(
    tensors.flatMap((tensor): [string, Uint8Array][] => {
      const found = stored.get(tensor.file.path)?.get(tensor.name)
      const fits =
        found?.start === tensor.start &&
        found.end === tensor.end &&
        found.digests.length === piecesIn(tensor) * digestBytes
      return fits ? [[tensor.name, found.digests]] : []
    }),
  )
}

export interface NewHashes {
  readonly tensors: readonly TensorInfo[]
  readonly digests: ReadonlyMap<string, Uint8Array>
  readonly files: readonly TensorFile[]
  /** When reading began. */
  readonly startedAt: number
}

/** Remembers them for the files that had come to rest before they were read; a full disk is no reason to fail. */
export const writeHashes = (folder: string, { tensors, digests, files, startedAt }: NewHashes): void => {
  for (const { path, stamp, changedAt } of files) {
    const own = tensors.filter(({ file }) => file.path === path)
    if (own.length === 0 || startedAt - changedAt < settledMs) continue
    const entries = own.map(({ name, start, end }) => ({
      name,
      start,
      end,
      digests: Buffer.from(digests.get(name) ?? []).toString('base64'),
    }))
    try {
      writeStateJson(fileFor(folder, path), { version: 1, path, stamp, tensors: entries })
    } catch {
      // they are read again
    }
  }
}

/** What was remembered did not hold: these files are read whole the next time. */
export const forgetHashes = (folder: string, files: readonly TensorFile[]): void => {
  for (const { path } of files) rmSync(fileFor(folder, path), { force: true })
}

/** Forgets hashes of files that are not there any more. */
export const pruneHashes = (folder: string): void => {
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    let stored: unknown
    try {
      stored = readStateJson(join(folder, name))
    } catch {
      // damaged: it says nothing
    }
    if (!Value.Check(StoredHashes, stored) || !existsSync(stored.path)) rmSync(join(folder, name), { force: true })
  }
}
