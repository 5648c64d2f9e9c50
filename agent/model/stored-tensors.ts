/** Tensors as files have them, for whoever makes canonical ones of them: values and bytes by rows. */
import { MeshError } from '../../shared/errors.ts'
import type { StoredTensor } from './architecture/tensor-roles.ts'
import { isWeightType } from './blocks/formats.ts'
import { fp8Tensor } from './quantized/fp8.ts'
import { int4Tensor } from './quantized/int4.ts'
import { mxfp4Tensor } from './quantized/mxfp4.ts'
import type { Quantization } from './quantized/quantization-config.ts'
import type { TensorInfo } from './tensor-file.ts'
import { readRowBytes, readRows, weightTypeOf } from './tensor-slice.ts'

/**
 * A tensor of a type of `weightFormats`, in whatever file. A vector [n] is one row of n values.
 * @throws MeshError `dtypeUnsupported`
 */
export const storedTensor = (tensor: TensorInfo): StoredTensor => {
  const { name, dims } = tensor
  const type = weightTypeOf(tensor)
  const matrix = dims.length < 2 ? { ...tensor, dims: [1, dims[0] ?? 1] } : tensor
  return {
    name,
    dims,
    type,
    readRows: (start, end) => readRows(matrix, start, end),
    readBytes: (start, end) => readRowBytes(matrix, start, end),
  }
}

/** A tensor as whoever reads the model sees it, and the tensors of the files that it is made of. */
export interface StoredParts {
  readonly parts: readonly TensorInfo[]
  /** @throws MeshError `dtypeUnsupported` | `tensorShape` */
  open(parts: readonly TensorInfo[]): StoredTensor
}

type Tensors = ReadonlyMap<string, TensorInfo>

const single = (tensor: TensorInfo): StoredParts => ({ parts: [tensor], open: ([own]) => storedTensor(own) })

const partOf = (tensors: Tensors, name: string, of: string): TensorInfo => {
  const found = tensors.get(name)
  if (!found)
    throw new MeshError('weightsUnusable', {
      tensor: of,
      file: tensors.get(of)?.file.path ?? '',
      problem: `${name} is missing, which belongs to it`,
    })
  return found
}

const fp8Parts = (tensors: Tensors, weight: TensorInfo, block: readonly [number, number] | undefined): StoredParts => {
  // one scale for all of it has either name
  const plain = `${weight.name}_scale`
  const scale = partOf(tensors, block || !tensors.has(plain) ? `${plain}_inv` : plain, weight.name)
  return { parts: [weight, scale], open: ([own, its]) => fp8Tensor(own, its, block) }
}

const int4Parts = (
  tensors: Tensors,
  name: string,
  quantization: Quantization & { method: 'gptq' | 'awq' },
): StoredParts => {
  const stem = name.slice(0, -'qweight'.length)
  const parts = ['qweight', 'qzeros', 'scales'].map((part) => partOf(tensors, `${stem}${part}`, name))
  const isOrdered = quantization.method === 'awq' || quantization.isOrdered
  // files have it too where groups lie in order; only where they do not it says something
  const groups = isOrdered ? undefined : partOf(tensors, `${stem}g_idx`, name)
  return {
    parts: groups ? [...parts, groups] : parts,
    open: ([qweight, qzeros, scales, order]) =>
      int4Tensor(
        { name: `${stem}weight`, qweight, qzeros, scales, ...(order ? { groups: order } : {}) },
        quantization.method === 'awq'
          ? { packing: 'awq', zeroOffset: 0, isSymmetric: false }
          : {
              packing: 'gptq',
              zeroOffset: quantization.zeroOffset,
              isSymmetric: quantization.isSymmetric && isOrdered,
            },
      ),
  }
}

/** Endings of tensors that belong to another one, by the method. */
const helpers: Readonly<Record<Quantization['method'], RegExp>> = {
  fp8: /\.(weight_scale(_inv)?|activation_scale|input_scale)$/,
  gptq: /\.(qzeros|scales|g_idx)$/,
  awq: /\.(qzeros|scales)$/,
  mxfp4: /_scales$/,
}

const quantizedParts = (tensors: Tensors, tensor: TensorInfo, quantization: Quantization): [string, StoredParts] => {
  const { name, dtype } = tensor
  if (quantization.method === 'fp8' && dtype === 'F8_E4M3') return [name, fp8Parts(tensors, tensor, quantization.block)]
  if ((quantization.method === 'gptq' || quantization.method === 'awq') && name.endsWith('.qweight'))
    return [`${name.slice(0, -'qweight'.length)}weight`, int4Parts(tensors, name, quantization)]
  if (quantization.method === 'mxfp4' && name.endsWith('_blocks')) {
    const scales = partOf(tensors, name.replace(/_blocks$/, '_scales'), name)
    return [name, { parts: [tensor, scales], open: ([own, its]) => mxfp4Tensor(own, its) }]
  }
  return [name, single(tensor)]
}

/**
 * Tensors by the names that they would have in a model of plain weights (MXFP4: under the name of their blocks).
 * Nothing is read yet, and types that are not read are refused when they are opened.
 * @throws MeshError `weightsUnusable` when a part of one is missing
 */
export const storedParts = (tensors: Tensors, quantization?: Quantization): Map<string, StoredParts> =>
  new Map(
    [...tensors.values()].flatMap((tensor): [string, StoredParts][] => {
      if (!quantization) return [[tensor.name, single(tensor)]]
      if (helpers[quantization.method].test(tensor.name) && !isPlainTensor(tensors, tensor)) return []
      return [quantizedParts(tensors, tensor, quantization)]
    }),
  )

/** A tensor that has the name of a scale, and nothing that it could belong to. */
const isPlainTensor = (tensors: Tensors, { name, dtype }: TensorInfo): boolean =>
  isWeightType(dtype) &&
  !['.weight', '.qweight', '_blocks'].some((ending) =>
    tensors.has(
      name.replace(/(\.(weight_scale(_inv)?|activation_scale|input_scale)|\.(qzeros|scales|g_idx)|_scales)$/, ending),
    ),
  )
