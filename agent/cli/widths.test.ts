/**
 * Tables at the widths of narrow terminals: every command that prints one, with the longest names there are. The
 * commands run as ever; what a control plane would answer is made up here, since no small ring has all of it.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { AnswerOf, RouteName } from '../../shared/api/routes.ts'
import { parseControlPlaneId } from '../../shared/ids.ts'
import { routes } from '../../shared/api/routes.ts'
import { openHome, writeStateJson } from '../../shared/home.ts'
import { listPools } from '../device/pools.ts'
import type { Output } from './command.ts'
import { fields, table } from './render.ts'
import { runCli } from './run.ts'
import { noInput } from './standard-input.ts'
import { textWidth, wrapLines } from './wrap.ts'

const now = 1_800_000_000_000
const longName =
  'The old laptop under the desk in the living room, which everybody uses for films (do not switch it off)'.slice(
    0,
    100,
  )
/** Two cells a letter: 100 letters are 200 cells. */
const wideName = '客厅桌子下面的旧笔记本电脑'.repeat(7)
const names = [longName, wideName, 'x'.repeat(100), 'a']
const idOf = (index: number): string => String(index + 1).repeat(64)
const peerId = '12D3KooWQ3L9sVn8bqJ4wN7m5Y1XcPzR6tHfKdGaEuMjSoWvBxCy'
const range = (start: number, end: number): { start: number; end: number } => ({ start, end })

const peers: AnswerOf<'listPeers'> = names.map((name, index) => ({
  deviceId: idOf(index),
  name,
  role: index === 0 ? 'admin' : 'member',
  online: index !== 1,
  lastSeenAt: now - 40 * 86400e3,
  notAfter: now + 6 * 86400e3,
  peerId,
  addresses: [
    `/ip4/192.168.100.12${index}/tcp/40001/p2p/${peerId}`,
    `/ip4/203.0.113.7/tcp/4001/p2p/${peerId}/p2p-circuit/p2p/${peerId}`,
  ],
  certificate: 'A',
}))

const ring: AnswerOf<'listRings'>[number] = {
  ringId: 'ring_1',
  poolId: idOf(0),
  modelId: 'meta-llama/Llama-3.3-70B-Instruct-with-a-long-name',
  revision: idOf(0),
  quant: 'q8',
  epoch: 123456,
  status: 'forming',
  reason: `waiting for ${longName}: other model files`,
  worldSize: names.length,
  updatedAt: now,
  members: names.map((name, index) => ({
    deviceId: idOf(index),
    name,
    state: 'failed',
    progress: 1,
    share: 0.125,
    rank: index,
    leftNeighbor: idOf(0),
    rightNeighbor: idOf(1),
    error: {
      code: 'modelMismatch',
      message: `model m here has revision ${idOf(2)}, the ring uses ${idOf(3)}`,
      hint: '',
      fields: {},
    },
    ranges: {
      kvHeads: range(10, 12),
      heads: range(80, 96),
      ffn: range(28_000, 28_672),
      vocab: range(120_000, 128_256),
    },
  })),
  network: {
    links: [{ from: 0, to: 1, roundTripMs: 1234.5, bytesPerSecond: 12.5e9, measured: false, path: 'relayed' }],
    slowest: { roundTripMs: 1234.5, bytesPerSecond: 1e3 },
    collective: 'auto',
    carrier: 'streams',
    streamsReason: `${longName}: there is a relay between two ranks`,
    decode: { bytes: 8192, algorithm: 'recursive-doubling' },
    prefill: { bytes: 2 ** 21, algorithm: 'recursive-doubling' },
  },
}

const standing = (name: string, index: number): AnswerOf<'credits'>['members'][number] => ({
  deviceId: idOf(index),
  name,
  earned: 123_456_789_012,
  used: 98_765_432_109,
  recentlyEarned: 1,
  recentlyUsed: 1,
  contributionShare: 1_000_000,
  useShare: 123_456,
  queueShare: 999_999,
  newUntil: now + 86400e3,
})

/** Answers by route; what is not here is not asked for by the commands below. */
const answers: { readonly [Name in RouteName]?: AnswerOf<Name> } = {
  listPeers: peers,
  listRings: [ring],
  listJoins: names.map((name, index) => ({
    poolId: idOf(0),
    deviceId: idOf(index),
    name,
    createdAt: now - 3600e3,
    status: 'pending',
    invite: { inviteId: '0123456789abcdef', proof: idOf(1) },
  })),
  credits: { windowMs: 30 * 86400e3, unsettled: 12, members: names.map(standing) },
  controlPlane: { controlPlaneKey: parseControlPlaneId(idOf(7)) },
  quota: { ...standing(longName, 0), windowMs: 30 * 86400e3, waiting: 3, waitingOfOthers: 100 },
  ledger: {
    more: false,
    entries: names.map((_, index) => ({
      sequence: 1_000_000 + index,
      deviceId: idOf(index),
      kind: 'work',
      jobId: 'job_0123456789abcdef',
      epoch: 1,
      weights: 1,
      tokens: 123_456,
      computeUs: 1,
      modelWeights: 1,
      amount: -123_456_789,
      settledAt: now,
      signature: null,
      hash: idOf(1),
    })),
  },
  listKeys: names.map((name, index) => ({
    keyId: '0123456789abcdef',
    poolId: idOf(0),
    name,
    deviceId: idOf(index),
    deviceName: names[names.length - 1 - index],
    createdAt: now - 1000,
    expiresAt: now + 89 * 86400e3,
    lastUsedAt: now,
    tokensPerDay: 1_000_000,
    usedToday: 123_456,
    reserved: 100_000,
  })),
}

/** A control plane that knows the answers above. */
const answering: typeof fetch = (input) => {
  const { pathname } = new URL(input instanceof Request ? input.url : String(input))
  const found = (Object.keys(answers) as RouteName[]).find((name) =>
    new RegExp(`^${routes[name].path.replace(/:\w+/g, '[^/]+')}$`).test(pathname),
  )
  if (found === undefined) return Promise.reject(new TypeError('fetch failed'))
  return Promise.resolve(Response.json(answers[found]))
}

/** Where a model is that everybody has. */
const bundled = fileURLToPath(new URL('../../models/tiny-story', import.meta.url))
/** What a command wants beside its name. */
const wanted: Readonly<Record<string, readonly string[]>> = {
  'model-plan': ['--model', bundled, '--devices', `${'x'.repeat(60)}=16GB,${'y'.repeat(60)}=8GB*2`],
}
/** Commands that print a table, and others whose lines are long. */
const tables = [
  'pool-peers',
  'pool-list',
  'pool-requests',
  'ring-status',
  'credits',
  'ledger',
  'api-key-list',
  'shards',
  'model-list',
  'model-plan',
]
const lists = ['quota', 'resource-status', 'status']

let home = ''

const show = async (args: readonly string[], columns: number): Promise<string> => {
  let [stdout, stderr] = ['', '']
  const output = (write: (text: string) => void): Output => ({ write, control: () => undefined, isTTY: false, columns })
  const code = await runCli(args, {
    home: openHome(home),
    stdout: output((text) => (stdout += text)),
    stderr: output((text) => (stderr += text)),
    stdin: noInput(),
    colour: false,
    now: () => now,
    fetch: answering,
    signal: new AbortController().signal,
  })
  assert.equal(code, args[0] === 'status' ? 3 : 0, `${args.join(' ')}: ${stderr}`) // no agent runs
  return stdout
}

/** Lines wider than the terminal, but for words that people copy and that stand alone in their line. */
const tooWide = (text: string, columns: number): string[] =>
  text.split('\n').filter((line) => textWidth(line) > columns && !/^ *(?:[0-9a-f]{64}|\/[\w/-]+)$/.test(line))

before(async () => {
  home = mkdtempSync(join(tmpdir(), 'mesh-widths-'))
  await show(['init', '--network-id', 'home', '--name', longName, '--control-plane', 'http://127.0.0.1:8080'], 80)
  await show(['pool-create', '--name', wideName], 80)
  await show(['model-add', bundled, '--name', ring.modelId], 80)
  const { shards } = openHome(home)
  const [{ poolId }] = listPools(openHome(home))
  writeStateJson(join(shards, idOf(0), 'last-use.json'), { poolId, modelId: ring.modelId, at: now })
})

after(() => rmSync(home, { recursive: true, force: true }))

describe('tables', () => {
  for (const columns of [80, 40]) {
    it(`fit ${columns} columns, and lose nothing`, async () => {
      for (const command of tables) {
        const text = await show([command, ...(wanted[command] ?? [])], columns)
        assert.deepEqual(tooWide(text, columns), [], command)
        const whole = text.replaceAll(/\s/g, '')
        for (const name of ['ledger', 'pool-list', 'shards', 'model-list', 'model-plan'].includes(command) ? [] : names)
          assert.ok(whole.includes(name.replaceAll(' ', '')), `${command} lost ${name}:\n${text}`)
      }
      for (const command of lists) assert.deepEqual(tooWide(await show([command], columns), columns), [], command)
    })
  }

  it('stand in one line a row where there is room', async () => {
    const lines = (await show(['ring-status'], 1000)).split('\n')
    assert.equal(
      lines.findIndex((line) => line.startsWith('link')) - lines.findIndex((line) => line.startsWith('rank')),
      names.length + 1,
    )
  })

  it('of addresses have them below each device, a line each', async () => {
    const text = await show(['pool-peers'], 1000)
    assert.match(text, /\n11111111 .*\n {2}\/ip4\/192\.168\.100\.120\/tcp\/40001\n22222222 /)
  })

  it('are all tried here', () => {
    const folder = fileURLToPath(new URL('commands', import.meta.url))
    // what ring-status prints is written in ring-view
    const textOf = (file: string): string => {
      const text = readFileSync(join(folder, file), 'utf8')
      const view = `../${file.split('-')[0]}-view.ts`
      return text.includes(`'${view}'`) ? text + readFileSync(join(folder, view), 'utf8') : text
    }
    const found = readdirSync(folder).filter((file) => /\btable\(/.test(textOf(file)))
    assert.deepEqual(found.map((file) => file.replace('.ts', '')).toSorted(), tables.toSorted())
    assert.equal(listPools(openHome(home)).length, 1)
  })
})

describe('layout', () => {
  it('a table that is too wide puts columns below: wide ones, then those named, then the last', () => {
    const headings = ['id', 'name', 'state', 'more']
    const row = ['12345678', 'Anna', 'ready', 'abc']
    const lines = (columns: number, below?: string[]): string[] =>
      table(headings, [row], { columns, ...(below ? { below } : {}) })
        .split('\n')
        .slice(0, -1)
    assert.deepEqual(lines(27), ['id        name  state  more', '12345678  Anna  ready  abc'])
    assert.deepEqual(lines(25), ['id        name  state', '12345678  Anna  ready', '  more abc'])
    assert.deepEqual(lines(25, ['name']), ['id        state  more', '12345678  ready  abc', '  name Anna'])
    assert.deepEqual(lines(14), ['id        name', '12345678  Anna', '  state ready', '  more abc'])
    assert.deepEqual(lines(9), ['id', '12345678', '  name', '    Anna', '  state', '    ready', '  more', '    abc'])
  })

  it('words are broken where they must, and kept whole where they are copied', () => {
    assert.deepEqual(wrapLines('to be or not', 6), ['to be', 'or not'])
    assert.deepEqual(wrapLines('to be or not', 6, { hanging: 2 }), ['to be', '  or', '  not'])
    assert.deepEqual(wrapLines('an abcdefghij', 4), ['an', 'abcd', 'efgh', 'ij'])
    for (const copied of ['/ip4/10.0.0.1', 'http://host', 'ab'.repeat(16)])
      assert.deepEqual(wrapLines(`an ${copied} x`, 4, { whole: true }), ['an', copied, 'x'])
    assert.deepEqual(wrapLines('an abcdefghij', 4, { whole: true }), ['an', 'abcd', 'efgh', 'ij'])
    assert.deepEqual(wrapLines('日本語', 4), ['日本', '語'])
    assert.deepEqual(wrapLines('日本', 1), ['日', '本'])
    assert.deepEqual(wrapLines('ab'.repeat(16), 20).length, 2)
    assert.deepEqual([textWidth('日本'), textWidth('e\u0301'), textWidth('🦊a')], [4, 1, 3])
  })

  it('a field that is too long goes on below itself, or stands below its name', () => {
    assert.equal(
      fields(
        [
          ['a', 'one two three'],
          ['long', 'x'],
        ],
        12,
      ),
      'a     one\n      two\n      three\nlong  x\n',
    )
    assert.equal(fields([['device id', 'f'.repeat(32)]], 40), `device id\n  ${'f'.repeat(32)}\n`)
  })
})
