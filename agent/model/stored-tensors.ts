/** Tensors as files have them, for whoever makes canonical ones of them: values and bytes by rows. */
import type { StoredTensor } from './architecture/tensor-roles.ts'
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
