/** The GGUF file that llama.cpp is timed on: that of the ranks, or one of as many random weights in the same types. */
import { join } from 'node:path'
import { openModel } from '../agent/model/model-folder.ts'
import type { InferenceOptions } from './inference-orders.ts'
import { randomGgufBytes, writeRandomGguf } from './random-gguf.ts'
import { modelOfShape } from './shapes.ts'
import { mixedTypes, type TypeOf, uniformTypes } from './weight-types.ts'

export interface FileBeside {
  readonly file: string
  readonly bytes: number
  /** It is there yet. */
  readonly written: boolean
  /** Options of ranks that compute with its weights. */
  readonly ranks: Pick<InferenceOptions, 'modelFolder'>
  write(): void
}

const sameType = { f32: 'F32', q8: 'Q8_0', q4: 'Q4_0' } as const

export const fileBeside = (options: InferenceOptions, folder: string): FileBeside => {
  const { modelFolder, shapeName = '', quant, types } = options
  if (modelFolder !== undefined) {
    const model = openModel(modelFolder, 'bench')
    const { weightBytes } = model.about
    model.close()
    return { file: modelFolder, bytes: weightBytes, written: true, ranks: { modelFolder }, write: () => {} }
  }
  const model = modelOfShape(shapeName)
  const file = join(folder, 'model.gguf')
  const typeOf: TypeOf =
    types === undefined ? uniformTypes(sameType[quant as keyof typeof sameType]) : mixedTypes(model.spec, types)
  return {
    file,
    bytes: randomGgufBytes(model, typeOf),
    written: false,
    ranks: { modelFolder: types === undefined ? undefined : file },
    write: () => writeRandomGguf(file, model, typeOf),
  }
}
