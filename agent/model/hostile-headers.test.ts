/** Headers of weights that anybody may have written: refused by name, in bounded memory, or opened; never a crash. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import { isFolder } from '../../shared/lenient-files.ts'
import { openGguf } from './gguf/gguf.ts'
import { tokenizerMetadata } from './gguf/test/tokenizer-metadata.ts'
import { writeGguf, type WrittenTensor } from './gguf/write-gguf.ts'
import { writeRandomModel } from './random-model.ts'
import { openTensors } from './safetensors.ts'
import { loadTokenizer } from './tokenizer.ts'
import { families } from './tokenizer/test/families.ts'

/** In memory where there is such a place. */
const root = mkdtempSync(join(isFolder('/dev/shm') ? '/dev/shm' : tmpdir(), 'mesh-headers-'))
after(() => rmSync(root, { recursive: true, force: true }))

const seed = Date.now() % 2 ** 31
/** mulberry32 */
const randomOf = (start: number): ((below: number) => number) => {
  let state = start
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

/** Numbers at which lengths and counts go wrong. */
const edges = [0n, 1n, 2n ** 16n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n, 2n ** 40n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]

/** The same bytes, changed in one to four places. */
const mutated = (whole: Buffer, header: number, random: (below: number) => number): Buffer => {
  let bytes = Buffer.from(whole)
  for (let change = random(4); change >= 0; change--) {
    const at = random(Math.min(header, bytes.length - 8))
    const kind = random(6)
    if (kind === 0) bytes[at] ^= 1 << random(8)
    else if (kind === 1) bytes[at] = random(256)
    else if (kind === 2) bytes.writeBigUInt64LE(edges[random(edges.length)], at)
    else if (kind === 3) bytes.writeUInt32LE(Number(edges[random(edges.length)] & 0xffff_ffffn), at)
    else if (kind === 4) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random(16))])
    else bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(random(header), header), bytes.subarray(at)])
    if (bytes.length < 64) bytes = Buffer.from(whole)
  }
  return random(8) === 0 ? bytes.subarray(0, random(bytes.length)) : bytes
}

const known = [
  'ggufInvalid',
  'safetensorsInvalid',
  'modelFormatUnsupported',
  'modelConfigInvalid',
  'dtypeUnsupported',
  'promptTooLong',
  'gitLfsPointer',
  'modelFileMissing',
]

/** @param header bytes at the start that are changed */
const attack = (file: string, header: number, read: () => void, cases: number): Map<string, number> => {
  const whole = readFileSync(file)
  const random = randomOf(seed)
  const seen = new Map<string, number>()
  for (let index = 0; index < cases; index++) {
    writeFileSync(file, mutated(whole, header, random))
    let outcome = 'opened'
    try {
      read()
    } catch (error) {
      assert.ok(error instanceof MeshError, `seed ${seed}, case ${index}: ${(error as Error).stack}`)
      outcome = error.code
      assert.ok(known.includes(outcome), `seed ${seed}, case ${index}: ${outcome}: ${error.message}`)
      assert.ok(error.message.length < 2000)
    }
    seen.set(outcome, (seen.get(outcome) ?? 0) + 1)
  }
  writeFileSync(file, whole)
  return seen
}

/** Nothing of what a header claims is reserved: the most that may be held is some buffers. */
const mostBytes = 300 * 2 ** 20

const held = (): number => {
  const { heapUsed, arrayBuffers, external } = process.memoryUsage()
  return heapUsed + arrayBuffers + external
}

/** The most that this process has ever held. */
const peak = (): number => process.resourceUsage().maxRSS * 1024
const peakBefore = peak()

const check = (t: { diagnostic(text: string): void }, seen: ReadonlyMap<string, number>, refusal: string): void => {
  t.diagnostic(`seed ${seed}: ${[...seen].map(([code, count]) => `${code} ${count}`).join(', ')}`)
  assert.ok((seen.get(refusal) ?? 0) > 100, 'most changes are noticed')
  assert.ok(held() < mostBytes, `${held()} bytes are held`)
  assert.ok(peak() - peakBefore < 2 * mostBytes, `${peak() - peakBefore} bytes more were held`)
}

const tensors: WrittenTensor[] = [
  { name: 'token_embd.weight', dims: [10, 256], type: 'Q4_K', bytes: () => new Uint8Array(1440) },
  { name: 'blk.0.attn_q.weight', dims: [2, 4, 64], type: 'Q8_0', bytes: () => new Uint8Array(544) },
  { name: 'output_norm.weight', dims: [64], type: 'F32', bytes: () => new Uint8Array(256) },
]

test('10,000 changed headers of GGUF are opened or refused by name, in bounded memory', (t) => {
  const [file] = writeGguf(join(root, 'one.gguf'), {
    metadata: {
      'general.architecture': { type: 'string', value: 'llama' },
      'general.alignment': { type: 'u32', value: 32 },
      'llama.block_count': { type: 'u32', value: 1 },
      scores: { type: 'f32', values: [1, 2, 3] },
      tokens: { type: 'string', values: ['a', 'b', '</s>'] },
    },
    tensors,
  })
  check(
    t,
    attack(file, 520, () => openGguf(file).close(), 10_000),
    'ggufInvalid',
  )
})

test('2,000 changed tokenizers of GGUF are read or refused by name', (t) => {
  const family = families['llama-2']
  const short = {
    ...family,
    model: { ...family.model, merges: (family.model.merges as string[]).slice(0, 20) },
  }
  const [file] = writeGguf(join(root, 'tokenizer.gguf'), { metadata: tokenizerMetadata(short, 'llama'), tensors: [] })
  const read = (): void => {
    loadTokenizer(file).encode('Once upon a time', { mostTokens: 64 })
  }
  check(t, attack(file, readFileSync(file).length, read, 2000), 'ggufInvalid')
})

test('8,000 changed headers of safetensors are opened or refused by name, in bounded memory', (t) => {
  const folder = join(root, 'folder')
  writeRandomModel(folder, {
    shape: { layers: 1, hidden: 32, heads: 2, kvHeads: 1, headDim: 16, ffn: 32, vocab: 32, context: 64 },
    tied: true,
    dtype: 'F16',
    seed: 1,
  })
  const file = join(folder, 'model.safetensors')
  const header = 8 + Number(readFileSync(file).readBigUInt64LE(0))
  check(
    t,
    attack(file, header, () => openTensors(folder).close(), 8000),
    'safetensorsInvalid',
  )
})

test('deeply nested JSON in a header or a config is refused by name', () => {
  const folder = join(root, 'folder')
  const file = join(folder, 'model.safetensors')
  const whole = readFileSync(file)
  for (const nested of [
    '['.repeat(1_000_000),
    '{"a":'.repeat(200_000),
    `${'['.repeat(100_000)}${']'.repeat(100_000)}`,
  ]) {
    const text = Buffer.from(`{"a":${nested}}`)
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(text.length))
    writeFileSync(file, Buffer.concat([length, text]))
    assert.throws(() => openTensors(folder), { code: 'safetensorsInvalid' })
    writeFileSync(join(folder, 'tokenizer.json'), text)
    assert.throws(() => loadTokenizer(folder), { code: 'modelConfigInvalid' })
  }
  writeFileSync(file, whole)
})
