/** How far loading is, in a terminal and in a pipe. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AgentRing } from '../../shared/schema/agent-state.ts'
import type { Output } from './command.ts'
import { shardText } from './commands/shard-status.ts'
import { createProgressLine, loadText } from './progress.ts'

const quantising = { progress: 0.41, loading: { phase: 'quantising', bytes: 130e6, totalBytes: 316e6 } } as const

test('progress: a bar in a terminal, words in a pipe', () => {
  assert.equal(loadText(quantising, { isTTY: true }), '[########............] 41%, quantising 130 MB of 316 MB')
  assert.equal(loadText(quantising, { isTTY: false }), 'loading 41%, quantising 130 MB of 316 MB')
  assert.equal(
    loadText({ progress: 1, loading: { phase: 'linking', bytes: 1, totalBytes: 1 } }, { isTTY: true }),
    '[####################] 100%, waiting for the other ranks',
  )
  assert.equal(loadText({ progress: 0 }, { isTTY: false }), 'loading 0%')
})

test('progress: the line is redrawn in its place, never longer than the terminal is wide, and removed at the end', () => {
  let written = ''
  const terminal: Output = {
    isTTY: true,
    columns: 30,
    write: (text) => void (written += text),
    control: (text) => void (written += text),
  }
  const line = createProgressLine(terminal)
  line.show(quantising)
  assert.equal(written, '\r[########............] 41%, q\u001b[K')
  line.end()
  assert.ok(written.endsWith('\r\u001b[K') && !written.includes('\n'))
})

test('shard-status: says what an agent that loads is doing', () => {
  const range = { start: 0, end: 1 }
  const ring: AgentRing = {
    ringId: 'r',
    poolId: 'a'.repeat(64),
    modelId: 'm',
    epoch: 1,
    rank: 0,
    worldSize: 2,
    state: 'loading',
    ...quantising,
    backend: '',
    quant: 'q4',
    ranges: { kvHeads: range, heads: range, ffn: range, vocab: range },
    shardBytes: 0,
    shardFolder: '',
  }
  assert.match(shardText(ring, { isTTY: false, columns: 80 }), /\nstate +loading 41%, quantising 130 MB of 316 MB\n/)
  assert.match(shardText(ring, { isTTY: true, columns: 80 }), /\nstate +\[#{8}\.{12}\] 41%, quantising/)
})
