/** The float64 reference over a model folder, with its weights as a backend holds them (quantised and back). */
import type { Quant } from '../../../shared/schema/model.ts'
import { readConfig } from '../../model/config.ts'
import type { Model } from '../../model/model-folder.ts'
import {
  bitsOf,
  type BlockColumns,
  blockColumns,
  type BlockFormat,
  dequantize,
  quantize,
} from '../../model/quantize.ts'
import { readRows } from '../../model/tensor-slice.ts'
import type { Matrix, ReferenceModel } from './reference.ts'

export const readReference = (model: Model, quant: Quant, block: BlockColumns = blockColumns): ReferenceModel => {
  const { shape, tiedEmbeddings, normEpsilon } = model.config
  const { rope } = readConfig(model.folder)
  const plain = (name: string): Matrix => {
    const tensor = model.tensor(name)
    return { rows: tensor.dims[0], columns: tensor.dims[1] ?? 1, data: readRows(tensor, 0, tensor.dims[0]) }
  }
  const held = (name: string): Matrix => {
    const { rows, columns, data } = plain(name)
    if (quant === 'f32') return { rows, columns, data }
    const format: BlockFormat = { bits: bitsOf(quant), block }
    return {
      rows,
      columns,
      data: dequantize(quantize(data as Float32Array, rows, columns, format), rows, columns, format),
    }
  }
  return {
    shape,
    normEpsilon,
    rope,
    embedding: plain('model.embed_tokens.weight'),
    finalNorm: plain('model.norm.weight').data,
    head: held(tiedEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight'),
    layers: Array.from({ length: shape.layers }, (_, layer) => {
      const at = `model.layers.${layer}`
      return {
        attentionNorm: plain(`${at}.input_layernorm.weight`).data,
        q: held(`${at}.self_attn.q_proj.weight`),
        k: held(`${at}.self_attn.k_proj.weight`),
        v: held(`${at}.self_attn.v_proj.weight`),
        o: held(`${at}.self_attn.o_proj.weight`),
        mlpNorm: plain(`${at}.post_attention_layernorm.weight`).data,
        gate: held(`${at}.mlp.gate_proj.weight`),
        up: held(`${at}.mlp.up_proj.weight`),
        down: held(`${at}.mlp.down_proj.weight`),
      }
    }),
  }
}

/** Largest difference over the largest logit. */
export const relativeError = (got: ArrayLike<number>, want: ArrayLike<number>): number => {
  let worst = 0
  let size = 0
  for (let i = 0; i < want.length; i++) {
    worst = Math.max(worst, Math.abs(got[i] - want[i]))
    size = Math.max(size, Math.abs(want[i]))
  }
  return worst / size
}
