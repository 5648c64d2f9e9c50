/** Weights that others quantised: values by the plain formulas of their formats, and blocks without any loss. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { StoredTensor } from '../architecture/tensor-roles.ts'
import { decodeBlocks } from '../blocks/formats.ts'
import { storedParts } from '../stored-tensors.ts'
import type { TensorInfo } from '../tensor-file.ts'
import { e4m3Values } from './fp8.ts'
import { type Quantization, readQuantization } from './quantization-config.ts'

let state = 5
const random = (below: number): number => {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
  return Math.floor(((state >>> 0) / 2 ** 32) * below)
}

const tensor = (name: string, dtype: string, dims: readonly number[], data: ArrayBufferView): TensorInfo => {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  const start = 13
  return {
    name,
    dtype,
    dims,
    start,
    end: start + bytes.length,
    file: {
      path: 'model.safetensors',
      read: (into, position) => {
        assert.ok(position >= start && position + into.length <= start + bytes.length, `reads of ${name} alone`)
        into.set(bytes.subarray(position - start, position - start + into.length))
      },
    },
  }
}

const open = (tensors: readonly TensorInfo[], quantization?: Quantization): Map<string, StoredTensor> =>
  new Map(
    [...storedParts(new Map(tensors.map((one) => [one.name, one])), quantization)].map(
      ([name, { parts, open: make }]) => [name, make(parts)],
    ),
  )

/** Any rows of it are those of the whole. */
const checkRows = (stored: StoredTensor, want: Float32Array): void => {
  const columns = stored.dims.at(-1) as number
  const rows = want.length / columns
  assert.deepEqual(stored.readRows(0, rows), want)
  for (const [start, end] of [
    [3, 12],
    [8, 16],
    [rows - 1, rows],
    [5, 5],
  ])
    assert.deepEqual(stored.readRows(start, end), want.slice(start * columns, end * columns), `rows ${start}..${end}`)
  assert.throws(() => stored.readRows(0, rows + 1), RangeError)
}

test('fp8: e4m3 by its definition', () => {
  assert.equal(e4m3Values[0x7e], 448)
  assert.equal(e4m3Values[0x08], 2 ** -6)
  assert.equal(e4m3Values[0x01], 2 ** -9)
  assert.equal(e4m3Values[0x38], 1)
  assert.equal(e4m3Values[0xb9], -1.125)
  assert.ok(Number.isNaN(e4m3Values[0x7f]) && Number.isNaN(e4m3Values[0xff]))
  assert.ok(Object.is(e4m3Values[0x80], -0))
})

const codes = Uint8Array.from({ length: 300 * 200 }, () => {
  const code = random(256)
  return (code & 0x7f) === 0x7f ? 0 : code
})

test('fp8: blocks of 128 by 128 have scales, the last ones smaller', () => {
  const scales = Float32Array.from({ length: 3 * 2 }, (_, i) => 0.01 * (i + 1))
  const stored = open(
    [
      tensor('a.weight', 'F8_E4M3', [300, 200], codes),
      tensor('a.weight_scale_inv', 'F32', [3, 2], scales),
      tensor('b.weight', 'F32', [2, 2], new Float32Array(4)),
    ],
    { method: 'fp8', block: [128, 128] },
  )
  assert.deepEqual([...stored.keys()], ['a.weight', 'b.weight'])
  const want = Float32Array.from(
    codes,
    (code, i) => e4m3Values[code] * scales[Math.floor(i / 200 / 128) * 2 + Math.floor((i % 200) / 128)],
  )
  const own = stored.get('a.weight') as StoredTensor
  assert.deepEqual([own.type, own.dims], ['F32', [300, 200]])
  checkRows(own, want)
  assert.deepEqual(new Float32Array(own.readBytes(140, 141).buffer), want.slice(140 * 200, 141 * 200))
})

for (const [name, dims, scaleName] of [
  ['the whole tensor', [], 'weight_scale'],
  ['each row', [300, 1], 'weight_scale'],
  ['the whole tensor, and one for its inputs', [], 'weight_scale_inv'],
] as const) {
  test(`fp8: a scale for ${name}`, () => {
    const count = dims[0] ?? 1
    const scales = Float32Array.from({ length: count }, (_, i) => 0.5 + i)
    const stored = open(
      [
        tensor('a.weight', 'F8_E4M3', [300, 200], codes),
        tensor(`a.${scaleName}`, 'F32', dims, scales),
        ...(scaleName === 'weight_scale_inv' ? [tensor('a.activation_scale', 'F32', [], new Float32Array([3]))] : []),
      ],
      { method: 'fp8', block: undefined },
    )
    assert.deepEqual([...stored.keys()], ['a.weight'])
    checkRows(
      stored.get('a.weight') as StoredTensor,
      Float32Array.from(codes, (code, i) => e4m3Values[code] * scales[count === 1 ? 0 : Math.floor(i / 200)]),
    )
  })
}

const [rows, columns, size] = [24, 256, 64]
const groups = columns / size
const matrix = Uint8Array.from({ length: rows * columns }, () => random(16))
const scaleValues = Float16Array.from({ length: groups * rows }, () => 0.001 * (1 + random(100)))

/** Eight nibbles a word. @param at value of nibble n of word [line, word] */
const packed = (
  lines: number,
  across: number,
  at: (line: number, word: number, nibble: number) => number,
): Int32Array =>
  Int32Array.from({ length: lines * across }, (_, i) => {
    let word = 0
    for (let nibble = 0; nibble < 8; nibble++) word |= at(Math.floor(i / across), i % across, nibble) << (4 * nibble)
    return word
  })

const gptq = (zeros: Uint8Array, offset: number, order?: Int32Array, dtype = 'F16'): TensorInfo[] => [
  tensor(
    'm.qweight',
    'I32',
    [columns / 8, rows],
    packed(columns / 8, rows, (line, row, n) => matrix[row * columns + 8 * line + n]),
  ),
  tensor(
    'm.qzeros',
    'I32',
    [groups, rows / 8],
    packed(groups, rows / 8, (group, word, n) => zeros[group * rows + 8 * word + n] - offset),
  ),
  tensor('m.scales', dtype, [groups, rows], dtype === 'F16' ? scaleValues : Float32Array.from(scaleValues)),
  ...(order ? [tensor('m.g_idx', 'I32', [columns], order)] : []),
  tensor('m.bias', 'F16', [rows], new Float16Array(rows)),
]

const int4Values = (zeros: Uint8Array, groupOf: (column: number) => number): Float32Array =>
  Float32Array.from(matrix, (code, i) => {
    const [row, group] = [Math.floor(i / columns), groupOf(i % columns)]
    return scaleValues[group * rows + row] * (code - zeros[group * rows + row])
  })

const anyZeros = Uint8Array.from({ length: groups * rows }, () => 1 + random(15))
const eights = new Uint8Array(groups * rows).fill(8)
const inOrder = (column: number): number => Math.floor(column / size)

test('gptq: codes of neighbouring columns, zero points of neighbouring rows, stored less one', () => {
  const stored = open(gptq(anyZeros, 1), { method: 'gptq', isSymmetric: false, isOrdered: true, zeroOffset: 1 })
  assert.deepEqual([...stored.keys()], ['m.weight', 'm.bias'])
  const own = stored.get('m.weight') as StoredTensor
  assert.deepEqual([own.type, own.dims], ['F32', [rows, columns]])
  checkRows(own, int4Values(anyZeros, inOrder))
})

test('gptq: the second version stores zero points as they are', () => {
  const stored = open(gptq(anyZeros, 0), { method: 'gptq', isSymmetric: false, isOrdered: true, zeroOffset: 0 })
  checkRows(stored.get('m.weight') as StoredTensor, int4Values(anyZeros, inOrder))
})

test('gptq: columns in the order of their activations have the group that g_idx says', () => {
  const order = Int32Array.from({ length: columns }, () => random(groups))
  const quantization = { method: 'gptq', isSymmetric: true, isOrdered: false, zeroOffset: 1 } as const
  const own = open(gptq(eights, 1, order), quantization).get('m.weight') as StoredTensor
  assert.equal(own.type, 'F32')
  checkRows(
    own,
    int4Values(eights, (column) => order[column]),
  )
  order[7] = groups
  assert.throws(
    () =>
      open(gptq(eights, 1, order), quantization)
        .get('m.weight')
        ?.readRows(0, 1),
    {
      code: 'weightsUnusable',
      message: /m\.g_idx .*beyond the 4 of the scales/,
    },
  )
})

test('gptq: symmetric groups of 32 columns and more are blocks of Q4_0, bit for bit', () => {
  const quantization = { method: 'gptq', isSymmetric: true, isOrdered: true, zeroOffset: 1 } as const
  const own = open(gptq(eights, 1), quantization).get('m.weight') as StoredTensor
  assert.equal(own.type, 'Q4_0')
  assert.deepEqual(decodeBlocks('Q4_0', own.readBytes(0, rows)), int4Values(eights, inOrder))
  assert.deepEqual(
    own.readBytes(9, 11),
    own.readBytes(0, rows).slice((9 * columns * 18) / 32, (11 * columns * 18) / 32),
  )
  // scales that no f16 holds, or zero points that are not what the config says
  assert.equal(open(gptq(eights, 1, undefined, 'F32'), quantization).get('m.weight')?.type, 'F32')
  assert.throws(() => open(gptq(anyZeros, 1), quantization).get('m.weight')?.readBytes(0, rows), {
    code: 'weightsUnusable',
    message: /m\.qzeros .*where config\.json says sym/,
  })
})

test('gptq: a zero point of 16 is refused, about which programs differ', () => {
  const zeros = eights.slice().fill(16, 40, 41)
  const quantization = { method: 'gptq', isSymmetric: false, isOrdered: true, zeroOffset: 1 } as const
  assert.throws(() => open(gptq(zeros, 1), quantization).get('m.weight')?.readRows(0, rows), {
    code: 'weightsUnusable',
    message: /zero point of 16 in group 1, row 16/,
  })
})

test('awq: eight rows a word, even ones in its lower half', () => {
  const order = [0, 2, 4, 6, 1, 3, 5, 7]
  const tensors = [
    tensor(
      'm.qweight',
      'I32',
      [columns, rows / 8],
      packed(columns, rows / 8, (column, word, n) => matrix[(8 * word + order[n]) * columns + column]),
    ),
    tensor(
      'm.qzeros',
      'I32',
      [groups, rows / 8],
      packed(groups, rows / 8, (group, word, n) => anyZeros[group * rows + 8 * word + order[n]]),
    ),
    tensor('m.scales', 'F16', [groups, rows], scaleValues),
  ]
  checkRows(open(tensors, { method: 'awq' }).get('m.weight') as StoredTensor, int4Values(anyZeros, inOrder))
})

test('mxfp4: values of gpt-oss are the same in blocks of ggml', () => {
  const [experts, down, across] = [2, 12, 3]
  const nibbles = Uint8Array.from({ length: experts * down * across * 32 }, () => random(16))
  const scales = Uint8Array.from({ length: experts * down * across }, () => 110 + random(30))
  const bytes = Uint8Array.from({ length: nibbles.length / 2 }, (_, i) => nibbles[2 * i] | (nibbles[2 * i + 1] << 4))
  const tensors = [
    tensor('e.gate_up_proj_blocks', 'U8', [experts, down, across, 16], bytes),
    tensor('e.gate_up_proj_scales', 'U8', [experts, down, across], scales),
    tensor('e.gate_up_proj_bias', 'BF16', [experts, down], new Uint16Array(experts * down)),
  ]
  const stored = open(tensors, { method: 'mxfp4' })
  assert.deepEqual([...stored.keys()], ['e.gate_up_proj_blocks', 'e.gate_up_proj_bias'])
  const fp4 = [0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6]
  const own = stored.get('e.gate_up_proj_blocks') as StoredTensor
  assert.deepEqual([own.type, own.dims], ['MXFP4', [experts, down, across * 32]])
  checkRows(
    own,
    Float32Array.from(nibbles, (nibble, i) => fp4[nibble] * 2 ** (scales[Math.floor(i / 32)] - 127)),
  )
  scales[13 * across + 1] = 255
  assert.throws(() => own.readBytes(12, 15), { code: 'weightsUnusable', message: /gate_up_proj_scales .*at row 13/ })
})

test('a part that is missing, or of another shape, is named', () => {
  const fp8 = { method: 'fp8', block: [128, 128] } as const
  const weight = tensor('a.weight', 'F8_E4M3', [300, 200], codes)
  assert.throws(() => open([weight], fp8), { code: 'weightsUnusable', message: /a\.weight_scale_inv is missing/ })
  assert.throws(() => open([weight, tensor('a.weight_scale_inv', 'F32', [2, 3], new Float32Array(6))], fp8), {
    code: 'tensorShape',
    message: /a\.weight_scale_inv/,
  })
  const quantization = { method: 'gptq', isSymmetric: false, isOrdered: true, zeroOffset: 1 } as const
  const parts = gptq(anyZeros, 1)
  assert.throws(() => open(parts.slice(0, 2), quantization), {
    code: 'weightsUnusable',
    message: /m\.scales is missing/,
  })
  assert.throws(() => open([parts[0], { ...parts[1], dims: [groups, 2] }, parts[2]], quantization), {
    code: 'tensorShape',
  })
  assert.throws(() => open([{ ...parts[0], dtype: 'F32' }, parts[1], parts[2]], quantization), {
    code: 'dtypeUnsupported',
  })
  // not said by config.json: a type that is not read
  assert.throws(() => open([weight]), { code: 'dtypeUnsupported', message: /F8_E4M3/ })
})

const config = (quantization_config: unknown): Quantization | undefined =>
  readQuantization('config.json', { quantization_config })

test('quantization_config: what is understood', () => {
  assert.equal(config(undefined), undefined)
  assert.equal(config(null), undefined)
  const fp8 = { quant_method: 'fp8', fmt: 'e4m3', activation_scheme: 'dynamic', weight_block_size: [128, 128] }
  assert.deepEqual(config({ ...fp8, modules_to_not_convert: ['lm_head'] }), { method: 'fp8', block: [128, 128] })
  assert.deepEqual(config({ quant_method: 'fp8' }), { method: 'fp8', block: undefined })
  const gptqConfig = { quant_method: 'gptq', bits: 4, group_size: 128, desc_act: true, sym: true, damp_percent: 0.01 }
  assert.deepEqual(config(gptqConfig), { method: 'gptq', isSymmetric: true, isOrdered: false, zeroOffset: 1 })
  assert.deepEqual(config({ ...gptqConfig, desc_act: false, sym: false, checkpoint_format: 'gptq_v2' }), {
    method: 'gptq',
    isSymmetric: false,
    isOrdered: true,
    zeroOffset: 0,
  })
  const awqConfig = { quant_method: 'awq', bits: 4, group_size: 128, zero_point: true, version: 'gemm' }
  assert.deepEqual(config(awqConfig), { method: 'awq' })
  assert.deepEqual(config({ quant_method: 'mxfp4', modules_to_not_convert: [] }), { method: 'mxfp4' })
})

for (const [what, message] of [
  [
    { quant_method: 'bitsandbytes', load_in_4bit: true },
    /quant_method is "bitsandbytes"; supported is fp8, gptq, awq, mxfp4/,
  ],
  [{ quant_method: 'compressed-tensors' }, /quant_method is "compressed-tensors"/],
  [{ bits: 4 }, /quant_method is null/],
  ['fp8', /it is "fp8"/],
  [{ quant_method: 'constructor' }, /quant_method is "constructor"/],
  [{ quant_method: 'gptq', bits: 3, group_size: 128 }, /quantization_config: bits is 3; supported is 4/],
  [{ quant_method: 'gptq', bits: 4, group_size: 100 }, /group_size is 100; supported is a multiple of 32/],
  [{ quant_method: 'gptq', group_size: 128 }, /bits and group_size must be there/],
  [{ quant_method: 'gptq', bits: 4, group_size: 128, format: 'marlin' }, /format is "marlin"/],
  [
    { quant_method: 'gptq', bits: 4, group_size: 128, rotation: 'hadamard' },
    /rotation is "hadamard"; this key is not known/,
  ],
  [{ quant_method: 'gptq', bits: 4, group_size: 128, dynamic: { a: 1 } }, /dynamic is/],
  [{ quant_method: 'awq', bits: 4, group_size: 128, version: 'gemv' }, /version is "gemv"/],
  [{ quant_method: 'awq', bits: 4, group_size: 128, zero_point: false }, /zero_point is false/],
  [{ quant_method: 'fp8', activation_scheme: 'other' }, /activation_scheme is "other"/],
  [{ quant_method: 'fp8', fmt: 'e5m2' }, /fmt is "e5m2"/],
  [{ quant_method: 'fp8', weight_block_size: [128, 0] }, /weight_block_size/],
] as const) {
  test(`quantization_config: refused by key and value: ${JSON.stringify(what)}`, () => {
    assert.throws(() => config(what), { code: 'modelConfigInvalid', message })
  })
}
