import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { ggmlQuantize } from '../blocks/test/ggml-blocks.ts'
import { readRows } from '../tensor-slice.ts'
import { openGguf } from './gguf.ts'
import { type TypedValue, writeGguf, type WrittenTensor } from './write-gguf.ts'

const folder = mkdtempSync(join(tmpdir(), 'mesh-gguf-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const tensor = (name: string, dims: readonly number[], type: WrittenTensor['type'] = 'F32'): WrittenTensor => {
  const values = Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => Math.cos(i + name.length))
  return { name, dims, type, bytes: () => ggmlQuantize(type, values, dims[dims.length - 1]) }
}

const metadata: Readonly<Record<string, TypedValue>> = {
  'general.architecture': { type: 'string', value: 'llama' },
  'a.u8': { type: 'u8', value: 255 },
  'a.i8': { type: 'i8', value: -128 },
  'a.u16': { type: 'u16', value: 65_535 },
  'a.i16': { type: 'i16', value: -32_768 },
  'a.u32': { type: 'u32', value: 2 ** 32 - 1 },
  'a.i32': { type: 'i32', value: -(2 ** 31) },
  'a.f32': { type: 'f32', value: 0.5 },
  'a.bool': { type: 'bool', value: true },
  'a.u64': { type: 'u64', value: 2n ** 63n },
  'a.i64': { type: 'i64', value: -5n },
  'a.f64': { type: 'f64', value: Math.PI },
  tokens: { type: 'string', values: ['a', '', 'ä\u0000b', '▁the', '\u{1f600}'] },
  scores: { type: 'f32', values: [0.25, -1e6, Number.NEGATIVE_INFINITY] },
  kinds: { type: 'i32', values: [1, -2, 3] },
  flags: { type: 'bool', values: [true, false] },
  many: { type: 'u64', values: [1, 2n ** 60n] },
  none: { type: 'string', values: [] },
}
const tensors = [
  tensor('token_embd.weight', [10, 256], 'Q4_K'),
  tensor('norm', [3]),
  tensor('stack', [2, 3, 64], 'Q8_0'),
  tensor('half', [5, 7], 'F16'),
]

test('gguf: metadata and tensors are those that were written', () => {
  const [path] = writeGguf(join(folder, 'whole.gguf'), { metadata, tensors })
  const model = openGguf(path)
  for (const [key, value] of Object.entries(metadata)) {
    if ('value' in value)
      assert.equal(
        model.metadata.get(key),
        typeof value.value === 'bigint' && value.type === 'i64' ? Number(value.value) : value.value,
      )
    else assert.deepEqual([...(model.metadata.get(key) as Iterable<unknown>)], value.values)
  }
  assert.deepEqual(model.metadata.texts('tokens'), ['a', '', 'ä\u0000b', '▁the', '\u{1f600}'])
  assert.deepEqual(model.metadata.numbers('flags'), [1, 0])
  assert.deepEqual(model.metadata.texts('none'), [])
  assert.equal(model.metadata.count('a.u8'), 255)
  assert.equal(model.metadata.flag('a.bool'), true)
  assert.equal(model.metadata.text('absent'), undefined)
  for (const [key, read] of [
    ['a.bool', 'number'],
    ['a.i32', 'count'],
    ['tokens', 'numbers'],
    ['kinds', 'texts'],
    ['a.u8', 'flag'],
  ] as const)
    assert.throws(() => model.metadata[read](key), { code: 'ggufInvalid' }, key)
  assert.deepEqual([...model.tensors.keys()], ['token_embd.weight', 'norm', 'stack', 'half'])
  for (const { name, dims, type, bytes } of tensors) {
    const found = model.tensors.get(name)
    assert.ok(found)
    assert.deepEqual([found.dims, found.dtype], [dims, type])
    assert.equal(found.start % 32, 0)
    assert.deepEqual(readFileSync(path).subarray(found.start, found.end), Buffer.concat([bytes() as Uint8Array]))
  }
  assert.equal(readRows(model.tensors.get('norm') as never, 1, 2)[0], Math.fround(Math.cos(1 + 4)))
  model.close()
})

test('gguf: a split file is opened by any of its parts', () => {
  const parts = writeGguf(join(folder, 'split.gguf'), { metadata, tensors, parts: 3 })
  assert.match(parts[1], /split-00002-of-00003\.gguf$/)
  for (const part of parts) {
    const model = openGguf(part)
    assert.equal(model.files.length, 3)
    assert.equal(model.metadata.text('general.architecture'), 'llama')
    assert.deepEqual(
      [...model.tensors.keys()],
      tensors.map(({ name }) => name),
    )
    model.close()
  }
})

test('gguf: parts that are missing, mixed up or renamed are named', () => {
  const parts = writeGguf(join(folder, 'broken.gguf'), { metadata, tensors, parts: 2 })
  const alone = join(folder, 'alone.gguf')
  writeFileSync(alone, readFileSync(parts[1]))
  assert.throws(() => openGguf(alone), { code: 'ggufInvalid', message: /one of 2 parts: give it its name/ })
  const first = readFileSync(parts[0])
  writeFileSync(parts[0], readFileSync(parts[1]))
  assert.throws(() => openGguf(parts[0]), {
    code: 'ggufInvalid',
    message: /by its name it is part 1 of 2, by its header part 2 of 2/,
  })
  writeFileSync(parts[0], first)
  const other = writeGguf(join(folder, 'other.gguf'), { metadata, tensors: tensors.slice(0, 3), parts: 2 })
  renameSync(other[1], parts[1])
  assert.throws(() => openGguf(parts[0]), {
    code: 'ggufInvalid',
    message: /hold 3 tensors, it speaks of 4|is in two parts/,
  })
  rmSync(parts[1])
  assert.throws(() => openGguf(parts[0]), { code: 'modelFileMissing', message: /broken-00002-of-00002\.gguf/ })
})

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
const u64 = (value: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}
const text = (value: string): Buffer => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)])
/** A header by hand: magic, version, counts, then what is given. */
const header = (tensorCount: number | bigint, keyCount: number | bigint, ...rest: readonly Buffer[]): Buffer =>
  Buffer.concat([Buffer.from('GGUF'), u32(3), u64(tensorCount), u64(keyCount), ...rest])
const entry = (name: string, dims: readonly (number | bigint)[], type: number, offset: number | bigint): Buffer =>
  Buffer.concat([text(name), u32(dims.length), ...dims.map(u64), u32(type), u64(offset)])
const room = Buffer.alloc(4096)

const refusals: Readonly<Record<string, readonly [Buffer, RegExp, string?]>> = {
  empty: [Buffer.alloc(0), /it is empty/],
  'another magic number': [Buffer.from('GGUX0000000000000000000000'), /begins with "GGUX" in place of "GGUF"/],
  'a note of Git LFS': [
    Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:0\n'),
    /Git LFS/,
    'gitLfsPointer',
  ],
  'a web page': [Buffer.from('<!doctype html><html>'), /web page/],
  'the format before GGUF': [Buffer.from('tjgg00000000000000000000'), /older llama\.cpp/, 'modelFormatUnsupported'],
  'cut in its first bytes': [Buffer.from('GGUF\u0003\u0000\u0000\u0000'), /cut short/],
  'version 1': [Buffer.concat([Buffer.from('GGUF'), u32(1), room]), /version 1 of the format/],
  'version 9': [Buffer.concat([Buffer.from('GGUF'), u32(9), room]), /version 9 of the format/],
  'big-endian': [Buffer.concat([Buffer.from('GGUF'), Buffer.from([0, 0, 0, 3]), room]), /big-endian/],
  'more tensors than any': [header(2n ** 63n, 0, room), /number of tensors is 9223372036854775808/],
  'more tensors than bytes': [header(150_000, 0, room), /cut short/],
  'more keys than any': [header(0, 2n ** 40n, room), /number of keys is/],
  'a key longer than the file': [header(0, 1, u64(60_000), room), /cut short/],
  'a key longer than any': [header(0, 1, u64(2n ** 62n), room), /length of key 0 is/],
  'a key twice': [
    header(0, 2, text('a'), u32(0), Buffer.from([1]), text('a'), u32(0), Buffer.from([1]), room),
    /the key a is there twice/,
  ],
  'a key that is not UTF-8': [header(0, 1, u64(1), Buffer.from([0xff]), u32(0), room), /key 0 is not UTF-8/],
  'an unknown type of value': [header(0, 1, text('a'), u32(13), room), /value of a has the type 13/],
  'a list of lists': [header(0, 1, text('a'), u32(9), u32(9), u64(1), room), /list of lists/],
  'a list longer than the file': [header(0, 1, text('a'), u32(9), u32(12), u64(2 ** 23), room), /cut short/],
  'a list of texts longer than the file': [header(0, 1, text('a'), u32(9), u32(8), u64(2 ** 23), room), /cut short/],
  'a list longer than any': [header(0, 1, text('a'), u32(9), u32(0), u64(2n ** 60n), room), /number of elements of a/],
  'a boolean of 2': [header(0, 1, text('a'), u32(7), Buffer.from([2]), room), /a holds 2 in place of a boolean/],
  'an alignment of 24': [header(0, 1, text('general.alignment'), u32(4), u32(24), room), /alignment is 24/],
  'a tensor twice': [header(2, 0, entry('a', [1], 0, 0), entry('a', [1], 0, 32), room), /a is there twice/],
  'no dimensions': [header(1, 0, entry('a', [], 0, 0), room), /a has 0 dimensions/],
  'five dimensions': [header(1, 0, entry('a', [1, 1, 1, 1, 1], 0, 0), room), /a has 5 dimensions/],
  'more values than any': [header(1, 0, entry('a', [2 ** 39, 2 ** 39], 0, 0), room), /more than any file holds/],
  'a type that was given up': [header(1, 0, entry('a', [32], 31, 0), room), /Q4_0_4_4, which llama\.cpp gave up/],
  'a type that is not known': [header(1, 0, entry('a', [32], 77, 0), room), /type 77/],
  'part of a block': [header(1, 0, entry('a', [100, 2], 12, 0), room), /100 values, no multiple of the 256 of Q4_K/],
  'a place between': [header(1, 0, entry('a', [8], 0, 8), room), /lies at 8, no multiple of 32/],
  'a place behind the file': [header(1, 0, entry('a', [8], 0, 2n ** 40n), room), /cut short/],
  'a place beyond numbers': [header(1, 0, entry('a', [8], 0, 2n ** 63n), room), /the place of a is/],
  overlap: [header(2, 0, entry('a', [16], 0, 0), entry('b', [16], 0, 32), room), /b overlaps another/],
}

for (const [name, [bytes, message, code = 'ggufInvalid']] of Object.entries(refusals)) {
  test(`gguf: refuses a file by name: ${name}`, () => {
    const path = join(folder, 'bad.gguf')
    writeFileSync(path, bytes)
    assert.throws(() => openGguf(path), { code, message })
  })
}

test('gguf: a file that was cut anywhere is refused', () => {
  const [path] = writeGguf(join(folder, 'cut.gguf'), { metadata, tensors })
  const whole = readFileSync(path)
  const { start, end } = (() => {
    const model = openGguf(path)
    model.close()
    return model.tensors.get('half') as { start: number; end: number }
  })()
  for (let size = 0; size < whole.length; size += size < start ? 13 : 1) {
    if (size >= end) break // padding behind the last tensor need not be there
    truncateSync(path, size)
    assert.throws(() => openGguf(path), { code: 'ggufInvalid' }, `${size} bytes`)
    writeFileSync(path, whole)
  }
})
