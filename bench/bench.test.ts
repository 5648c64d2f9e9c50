/** `mesh bench` as people call it: real processes, the smallest shape. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Static } from 'typebox'
import { hasGgml } from '../agent/engine/ggml/library.ts'
import type { Printed } from '../shared/printed.ts'
import type { InferenceBench, Spread } from '../shared/schema/bench.ts'

const program = fileURLToPath(new URL('./main.ts', import.meta.url))
const model = fileURLToPath(new URL('../models/tiny-story', import.meta.url))

type Report = Printed<Static<typeof InferenceBench>>

const bench = async (...args: string[]): Promise<Report> => {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [
    '--disable-warning=ExperimentalWarning',
    program,
    '--json',
    '--workers',
    '2',
    ...args,
  ])
  assert.equal(stderr, '')
  return JSON.parse(stdout) as Report
}

const assertSpread = ({ median, min, max }: Spread, name: string): void =>
  assert.ok(min > 0 && min <= median && median <= max && Number.isFinite(max), `${name}: ${min} ${median} ${max}`)

test('mesh bench: two ranks on random weights give sane figures', async () => {
  const report = await bench(
    '--shape',
    'tiny',
    '--prompt-tokens',
    '16',
    '--tokens',
    '4',
    '--runs',
    '2',
    '--contexts',
    '8,300',
    '--sequences',
    '1,3',
  )
  for (const name of ['time_to_first_token_ms', 'prefill_tokens_per_second', 'decode_tokens_per_second'] as const)
    assertSpread(report[name], name)
  for (const phase of ['prefill', 'decode'] as const) {
    for (const name of [
      'compute_ms_per_token',
      'all_reduce_ms_per_token',
      'agent_cpu_ms_per_token',
      'compute_cpu_ms_per_token',
    ] as const)
      assertSpread(report[phase][name], `${phase} ${name}`)
  }
  assert.equal(report.workers, 2)
  // two sums of f32 [256] a layer of four, one candidate, and what goes round them
  const sums = 2 * 4 * 256 * 4
  const { median: bytes } = report.decode.bytes_per_token
  assert.ok(bytes > sums && bytes < 1.2 * sums, `${bytes} bytes`)
  assert.deepEqual(
    report.contexts.map(({ context, decode_ratio }) => [context, decode_ratio.median > 0]),
    [
      [8, true],
      [300, true],
    ],
  )
  assert.deepEqual(
    report.batches.map(({ sequences }) => sequences),
    [1, 3],
  )
  for (const { decode_tokens_per_second } of report.batches) assertSpread(decode_tokens_per_second, 'batch')
  assert.equal(report.batches[0].ratio.median, 1)
  assert.equal(report.resident_bytes.length, 2)
  assert.ok(report.resident_bytes.every((size) => size > 20e6))
  assert.ok(report.load_ms > 0 && report.shard_ms > 0)
})

test('mesh bench: a link that is slowed down shows in every sum', async () => {
  const report = await bench(
    '--shape',
    'tiny',
    '--prompt-tokens',
    '4',
    '--tokens',
    '3',
    '--runs',
    '1',
    '--rtt',
    '20',
    '--collective',
    'direct',
  )
  // eight sums a token, each at least one way
  assert.ok(report.decode.all_reduce_ms_per_token.min >= 8 * 10, `${report.decode.all_reduce_ms_per_token.min} ms`)
  assert.ok(report.decode_tokens_per_second.max < 1000 / 80)
})

test('mesh bench: llama.cpp itself on the same file, at depth and with several sequences', async (t) => {
  if (!hasGgml()) return t.skip('there is no llama.cpp for this machine')
  const report = await bench(
    '--shape',
    'tiny',
    '--types',
    'q4_k_m',
    '--compare',
    'llama.cpp',
    '--prompt-tokens',
    '16',
    '--tokens',
    '4',
    '--runs',
    '1',
    '--contexts',
    '8',
    '--sequences',
    '1,3',
  )
  const { llama_cpp: beside } = report
  assert.ok(beside)
  assert.equal(beside.threads, 2)
  for (const name of [
    'prefill_tokens_per_second',
    'decode_tokens_per_second',
    'prefill_ratio',
    'decode_ratio',
  ] as const)
    for (const one of [beside, ...beside.contexts]) assertSpread(one[name], name)
  assert.deepEqual(
    beside.batches.map(({ sequences }) => sequences),
    [1, 3],
  )
  for (const { decode_ratio } of beside.batches) assertSpread(decode_ratio, 'batch')
  assert.ok(report.disk_bytes > report.shard_bytes[0] + report.shard_bytes[1])
})

test('mesh bench: times a model folder', async () => {
  const report = await bench('--model', model, '--prompt-tokens', '16', '--tokens', '4', '--runs', '1', '--quant', 'q8')
  assertSpread(report.decode_tokens_per_second, 'decode')
  assert.ok(
    report.shard_bytes.every((bytes) => bytes > 3e6),
    String(report.shard_bytes),
  )
})

test('mesh bench: flags that go against each other are refused, not ignored', async () => {
  for (const args of [
    ['--model', model, '--shape', 'tiny'],
    ['--collectives', '--tokens', '5'],
    ['--compare', 'llama.cpp', '--rtt', '20'],
    ['--compare', 'llama.cpp', '--threads', '0'],
    ['--compare', 'llama.cpp', '--model', model],
    ['--types', 'q4_k_m', '--quant', 'q8'],
    ['--quant', 'file', '--shape', 'tiny'],
    ['--shape', 'llama-9'],
    ['--sequences', '0'],
    ['--model', model, '--contexts', '5000'],
  ]) {
    await assert.rejects(
      bench(...args),
      (error: { code: number; stderr: string }) => error.code === 2 && /error: /.test(error.stderr),
      args.join(' '),
    )
  }
})
