/** Hash trees over several pieces: every byte counts, and reading any part checks what it touches. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import { weightFormats } from './blocks/formats.ts'
import { checkedTensor, digestBytes, firstNotFinite, hashPieces, pieceBytes, piecesIn, rootOf } from './pieces.ts'
import type { TensorInfo } from './safetensors.ts'

/** Data in front of the tensor. */
const start = 1000
/** Two whole pieces and a bit. */
const length = 2 * pieceBytes + 6
const end = start + length

const content = (): Uint8Array =>
  Uint8Array.from({ length: end + 50 }, (_, index) => (index * 31 + (index >> 11)) & 0x3f)

/** A tensor in memory, and how many bytes were read of it. */
const tensorOf = (data: Uint8Array, dtype = 'BF16'): { readonly tensor: TensorInfo; readBytes(): number } => {
  let bytes = 0
  const read = (into: Uint8Array, position: number): void => {
    bytes += into.length
    into.set(data.subarray(position, position + into.length))
  }
  return {
    tensor: {
      name: 'one',
      dtype,
      dims: [1, length / (dtype === 'F32' ? 4 : 2)],
      start,
      end,
      file: { path: '/file', read },
    },
    readBytes: () => bytes,
  }
}

const hashed = (
  { tensor }: { readonly tensor: TensorInfo },
  parts: readonly (readonly [number, number])[] = [[0, 3]],
): Uint8Array => {
  const digests = new Uint8Array(piecesIn(tensor) * digestBytes)
  for (const [first, count] of parts) hashPieces(tensor.file, tensor, { first, count }, digests)
  return digests
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

test('pieces: hashes are those of each MiB of the tensor, the last one shorter, in whatever parts they are made', () => {
  const data = content()
  const digests = hashed(tensorOf(data))
  assert.equal(digests.length, 96)
  for (const [piece, [from, to]] of [
    [start, start + pieceBytes],
    [start + pieceBytes, start + 2 * pieceBytes],
    [start + 2 * pieceBytes, end],
  ].entries()) {
    assert.equal(
      Buffer.from(digests.subarray(piece * 32, piece * 32 + 32)).toString('hex'),
      sha256(data.subarray(from, to)),
    )
  }
  assert.deepEqual(
    hashed(tensorOf(data), [
      [2, 1],
      [0, 1],
      [1, 1],
    ]),
    digests,
  )
  assert.deepEqual(hashed(tensorOf(Object.assign(content(), { [start - 1]: 99, [end]: 99 }))), digests) // others' bytes
  assert.notDeepEqual(
    rootOf(digests),
    rootOf(hashed(tensorOf(Object.assign(content(), { [end - 1]: data[end - 1] ^ 1 })))),
  )
})

test('pieces: any part of a tensor reads as it is, wherever it begins and ends', () => {
  const data = content()
  const source = tensorOf(data)
  const { file } = checkedTensor(source.tensor, hashed(source))
  for (const [from, to] of [
    [0, length],
    [0, 1],
    [length - 1, length],
    [5, pieceBytes],
    [pieceBytes, 2 * pieceBytes],
    [pieceBytes - 3, pieceBytes + 3],
    [7, length - 1],
    [2 * pieceBytes, length],
    [9, 9],
  ]) {
    const into = new Uint8Array(to - from)
    file.read(into, start + from)
    assert.ok(Buffer.from(into).equals(data.subarray(start + from, start + to)), `${from}..${to}`)
  }
})

test('pieces: a changed byte is told by whoever reads its piece, with the piece, and by nobody else', () => {
  const digests = hashed(tensorOf(content()))
  for (const piece of [0, 1, 2]) {
    const at = start + piece * pieceBytes + 5
    const { file } = checkedTensor(tensorOf(Object.assign(content(), { [at]: 0xff })).tensor, digests)
    for (const [other, from] of [
      [0, 0],
      [1, pieceBytes + 100],
      [2, 2 * pieceBytes],
    ]) {
      const read = (): void => file.read(new Uint8Array(4), start + from)
      // even where the changed byte itself is not wanted, and again after it failed
      if (other === piece)
        for (let turn = 0; turn < 2; turn++)
          assert.throws(
            read,
            (error) => error instanceof MeshError && error.code === 'weightsChanged' && error.fields.piece === piece,
          )
      else read()
    }
    assert.throws(() => file.read(new Uint8Array(length), start), { code: 'weightsChanged' })
  }
})

test('pieces: parts of one piece that are read one after another read it once', () => {
  const source = tensorOf(content())
  const { file } = checkedTensor(source.tensor, hashed(source))
  const before = source.readBytes()
  for (let at = 0; at < 100; at += 10) file.read(new Uint8Array(10), start + at)
  assert.equal(source.readBytes() - before, pieceBytes)
  file.read(new Uint8Array(10), start + pieceBytes + 4)
  file.read(new Uint8Array(10), start)
  assert.equal(source.readBytes() - before, 3 * pieceBytes)
})

test('pieces: what is infinite or not a number is found with its place in the tensor, in any piece', () => {
  for (const [dtype, bits] of [
    ['BF16', [0x80, 0x7f]],
    ['F16', [0, 0xfc]],
    ['F32', [0, 0, 0xc0, 0x7f]],
  ] as const) {
    const width = bits.length
    for (const element of [0, 3, pieceBytes / width + 1, (2 * pieceBytes) / width, Math.floor(length / width) - 1]) {
      const data = content()
      data.set(bits, start + element * width)
      const place = new RegExp(`row 0, column ${element}$`)
      assert.throws(
        () => hashed(tensorOf(data, dtype)),
        { code: 'weightsUnusable', message: place },
        `${dtype} ${element}`,
      )
    }
  }
})

test('pieces: a float of 8 bits that is no number is found with its place', () => {
  const data = content()
  const { tensor } = tensorOf(data)
  const small: TensorInfo = { ...tensor, dtype: 'F8_E4M3', dims: [2, length / 2] }
  hashed({ tensor: small })
  for (const [element, bits] of [
    [7, 0x7f],
    [pieceBytes + 3, 0xff],
  ]) {
    const bad = content()
    bad[start + element] = bits
    const place = `row ${Math.floor(element / (length / 2))}, column ${element % (length / 2)}`
    assert.throws(() => hashed({ tensor: { ...small, file: tensorOf(bad).tensor.file } }), {
      code: 'weightsUnusable',
      message: new RegExp(`F8_E4M3 that is infinite or not a number at ${place}$`),
    })
  }
})

test('pieces: every finite number is one, be it the largest or the smallest', () => {
  const words = (...values: number[]): Uint8Array => new Uint8Array(Uint16Array.from(values).buffer)
  assert.equal(firstNotFinite('BF16', words(0x7f7f, 0xff7f, 0x0001, 0x8000, 0x7f00)), -1)
  assert.equal(firstNotFinite('F16', words(0x7bff, 0xfbff, 0x0001, 0x8000, 0x7800)), -1)
  assert.equal(
    firstNotFinite('F32', new Uint8Array(Float32Array.of(3.4028234e38, -3.4028234e38, 1e-45, -0).buffer)),
    -1,
  )
  assert.equal(firstNotFinite('F32', new Uint8Array(Float32Array.of(1, -Infinity).buffer)), 1)
  assert.equal(firstNotFinite('F16', words(0, 0xfe00, 0x7c00)), 1)
})

test('pieces: a scale of a block that is no number is refused by tensor, row and column, wherever pieces cut', () => {
  const { bytes: size } = weightFormats.Q6_K
  const blocks = Math.ceil((1.5 * pieceBytes) / size)
  // block 4993 begins in the first piece and its scale lies in the second
  const bad = Math.floor(pieceBytes / size)
  const data = new Uint8Array(blocks * size)
  data.set([0, 0xfc], bad * size + 208)
  const tensor: TensorInfo = {
    name: 'blocks',
    dtype: 'Q6_K',
    dims: [blocks / 2, 512],
    start: 0,
    end: data.length,
    file: { path: '/file.gguf', read: (into, position) => into.set(data.subarray(position, position + into.length)) },
  }
  assert.throws(() => hashed({ tensor }, [[1, 1]]), {
    code: 'weightsUnusable',
    message:
      'tensor blocks in /file.gguf cannot be used: scale of Q6_K that is infinite or not a number at row ' +
      `${Math.floor(bad / 2)}, column ${(bad % 2) * 256}`,
  })
  hashed({ tensor }, [[0, 1]])
})
