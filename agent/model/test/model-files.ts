/** Model folders for tests: of random weights, and changed files. */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { ModelShape } from '../../../shared/schema/model.ts'
import { openModel } from '../model-folder.ts'
import { writeRandomModel } from '../random-model.ts'

export const shape: ModelShape = {
  layers: 1,
  hidden: 16,
  heads: 2,
  kvHeads: 1,
  headDim: 8,
  ffn: 40,
  vocab: 300,
  context: 64,
}

export const bundled = fileURLToPath(new URL('../../../models', import.meta.url))

export const folderOf = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-model-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export const randomFolder = (t: TestContext, files = 1): string => {
  const folder = folderOf(t)
  writeRandomModel(folder, { shape, tied: false, dtype: 'F16', files, seed: 3 })
  return folder
}

/** Replaces the header of a safetensors file. */
export const editHeader = (
  file: string,
  change: (header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>) => object,
): void => {
  const bytes = readFileSync(file)
  const length = Number(bytes.readBigUInt64LE(0))
  const header = Buffer.from(JSON.stringify(change(JSON.parse(bytes.subarray(8, 8 + length).toString()) as never)))
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(BigInt(header.length))
  writeFileSync(file, Buffer.concat([prefix, header, bytes.subarray(8 + length)]))
}

export const open = (folder: string): void => openModel(folder, 'm').close()

export const revisionOf = async (folder: string): Promise<string> => {
  const model = openModel(folder, 'm')
  try {
    return (await model.identify()).revision
  } finally {
    model.close()
  }
}

/** Writes some bytes into a file in its place. */
export const overwrite = (file: string, at: number, bytes: Uint8Array): void => {
  const handle = openSync(file, 'r+')
  writeSync(handle, bytes, 0, bytes.length, at)
  closeSync(handle)
}
