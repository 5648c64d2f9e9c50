/** Three agents in processes of their own, of which one computes wrong by a little: what noticed nobody is named. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { pathToFileURL } from 'node:url'
import type { Printed } from '../shared/printed.ts'
import type { RingView } from '../shared/schema/ring.ts'
import { temporaryFolder } from './support/homes.ts'
import { eventually, mesh, runMesh, startReady } from './support/processes.ts'

/** Agents that are wrong by that fraction of the norm of each part of a sum. */
const lying = (fraction: number): Readonly<Record<string, string>> => ({
  NODE_OPTIONS: `--import=${pathToFileURL(join(import.meta.dirname, 'support', 'lying-backend.ts')).href}?${fraction}`,
})

/** With seeds, so that each prompt gives another text; greedy ones end early. */
const prompt = (seed: number): string[] => [
  'inference',
  '--prompt',
  'Once upon a time',
  '--max-tokens',
  '180',
  '--seed',
  String(seed),
  '--temperature',
  '1',
]

const names = ['Ann', 'Bob', 'Eve'] as const

const startGroup = async (
  t: TestContext,
): Promise<{ readonly homes: readonly string[]; ring(): Promise<Printed<RingView>> }> => {
  const root = temporaryFolder(t)
  const homes = names.map((name) => join(root, name))
  const plane = await startReady(t, {
    name: 'control plane',
    program: 'controlPlane',
    args: ['--port', '0', '--json', '--log-level', 'error'],
    home: join(root, 'services'),
  })
  for (const [index, home] of homes.entries()) {
    await mesh(['init', '--network-id', 'home', '--name', names[index], '--control-plane', String(plane.info.url)], {
      home,
    })
    if (index === 0) await mesh(['pool-create', '--name', 'friends'], { home })
    else await mesh(['pool-join', '--invite', (await mesh(['pool-invite'], { home: homes[0] })).trim()], { home })
    const args = [
      'start',
      '--json',
      '--listen',
      '/ip4/127.0.0.1/tcp/0',
      '--threads',
      '1',
      '--log-level',
      'error',
      ...(index === 2 ? ['--backend', 'onnx'] : []),
    ]
    await startReady(t, { name: names[index], program: 'mesh', args, home, env: index === 2 ? lying(0.01) : {} })
    await mesh(['join-ring', '--model-id', 'tiny-story'], { home })
  }
  return {
    homes,
    ring: async () => (JSON.parse(await mesh(['ring-status', '--json'], { home: homes[0] })) as Printed<RingView>[])[0],
  }
}

test('a rank that is wrong by 1 % is named by the others in ring-status and pool-status, nobody else is', async (t) => {
  const { homes, ring } = await startGroup(t)
  await eventually(60_000, 'the ring is active with all three', async () => {
    const { status, world_size: worldSize } = await ring()
    return (status === 'active' && worldSize === 3) || undefined
  })
  const verdictOf = async (name: string) => (await ring()).members.find((member) => member.name === name)?.sums
  let tokens = 0
  for (let seed = 1; (await verdictOf('Eve'))?.verdict !== 'wrong'; seed++) {
    assert.ok(
      seed < 8,
      `not named after ${tokens} tokens: ${JSON.stringify((await ring()).members.map(({ sums }) => sums))}`,
    )
    // the one in which the second of them finds it fails by her name
    const { code, stderr } = await runMesh(prompt(seed), { home: homes[1], timeoutMs: 120_000 })
    if (code !== 0) assert.match(stderr, /The sums of Eve .* are wrong: .* as (Ann|Bob) and (Ann|Bob) found/)
    tokens += 180
  }
  const found = await verdictOf('Eve')
  assert.deepEqual(found?.accusers.map(({ name }) => name).toSorted(), ['Ann', 'Bob'])
  assert.ok((found?.worst ?? 0) > 0.005 && (found?.worst ?? 1) < 0.03, String(found?.worst))
  for (const name of ['Ann', 'Bob']) assert.notEqual((await verdictOf(name))?.verdict, 'wrong')
  assert.match(await mesh(['ring-status'], { home: homes[0] }), /sums of Eve are wrong/)
  assert.match(await mesh(['pool-status'], { home: homes[0] }), /sums of Eve are wrong/)
})
