import assert from 'node:assert/strict'
import { dirname } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { usesOf } from './support/imports.ts'
import { loopsIn, roomOf } from './support/rooms.ts'
import { waysIn } from './support/step-ways.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const graphOf = (edges: Readonly<Record<string, string[]>>): Map<string, Map<string, number>> =>
  new Map(Object.entries(edges).map(([from, to]) => [from, new Map(to.map((name) => [name, 1]))]))

describe('structure', () => {
  it('a file is in the room of its folder, in that of sockets too, and what puts rooms together is in none', () => {
    for (const [file, room] of [
      ['agent/engine/forward.ts', 'agent/engine'],
      ['agent/engine/ggml/runner.ts', 'agent/engine'],
      ['agent/channel/sockets/socket-channel.ts', 'agent/channel/sockets'],
      ['agent/main.ts', undefined],
      ['shared/errors.ts', 'shared'],
      ['shared/errors/jobs.ts', 'shared/errors'],
      ['relay-server/relay.ts', 'relay-server'],
      ['oxlint.config.ts', undefined],
    ] as const)
      assert.equal(roomOf(file), room, file)
  })

  it('rooms that reach each other are a loop, however long the way is', () => {
    assert.deepEqual(loopsIn(graphOf({ a: ['b'], b: ['c'], c: [] })), [])
    assert.deepEqual(loopsIn(graphOf({ a: ['b'], b: ['c'], c: ['b'], d: ['a'] })), [['b', 'c']])
    assert.deepEqual(loopsIn(graphOf({ a: ['b'], b: ['c'], c: ['a'] })), [['a', 'b', 'c']])
  })

  it('a way names a room once for calls within it, and again when it is left and entered', () => {
    const node = (id: number, url: string, children: number[], hitCount = 0): Parameters<typeof waysIn>[0][number] => ({
      id,
      hitCount,
      children,
      callFrame: { url },
    })
    const nodes = [
      node(1, '', [2]),
      node(2, 'engine/a', [3]),
      node(3, 'engine/b', [4], 2),
      node(4, '', [5]),
      node(5, 'channel/c', [6]),
      node(6, 'engine/a', [], 3),
    ]
    const places = waysIn(nodes, (url) => (url === '' ? undefined : { room: url.split('/')[0], file: url }))
    assert.deepEqual(places, [
      { rooms: ['engine'], files: ['engine/a'], samples: 2 },
      { rooms: ['engine', 'channel', 'engine'], files: ['engine/a', 'channel/c', 'engine/a'], samples: 3 },
    ])
  })

  it('what runs is told from types, and threads are started, not imported', () => {
    const file = 'agent/cli/programs.ts'
    assert.deepEqual(usesOf(root, file, 'imports').files, ['shared/node-flags.ts'])
    assert.ok(usesOf(root, file, 'runs').files.includes('relay-server/main.ts'))
    const pipes = 'agent/cli/command.ts'
    assert.ok(usesOf(root, pipes, 'imports').files.includes('shared/home.ts'))
    assert.deepEqual(usesOf(root, pipes, 'runs'), { files: ['shared/printed.ts'], libraries: [] })
  })
})
