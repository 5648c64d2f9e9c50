/**
 * A group by hand, as docs/guide.md tells it, with real processes: relay, control plane, two agents with a home each,
 * one prompt.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { readAgentState } from '../agent/cli/session.ts'
import { openHome } from '../shared/home.ts'
import type { Printed } from '../shared/printed.ts'
import type { RingView } from '../shared/schema/ring.ts'
import { temporaryFolder } from './support/homes.ts'
import { eventually, mesh, runMesh, startReady } from './support/processes.ts'

interface Answer {
  readonly text: string
  readonly tokens: number[]
  readonly finish_reason: string
  readonly usage: Record<string, number>
  readonly timings: Record<string, number>
  readonly workers: number
}

interface Status {
  readonly agent: { readonly jobs: Record<'running' | 'done' | 'failed', number> } | null
  readonly control_plane: { readonly registered: boolean }
}

interface Cluster {
  readonly a: string
  readonly b: string
  json<T>(home: string, ...args: string[]): Promise<T>
}

/** Both machines up to `mesh join-ring`, as the guide says, on loopback and free ports. */
const quickStart = async (t: TestContext): Promise<Cluster> => {
  const root = temporaryFolder(t)
  const [a, b] = [join(root, 'a'), join(root, 'b')]
  const json = async <T>(home: string, ...args: string[]): Promise<T> =>
    JSON.parse(await mesh([...args, '--json'], { home })) as T
  const { info: control } = await startReady(t, {
    name: 'control plane',
    program: 'mesh',
    args: ['control-plane', '--port', '0', '--json'],
    home: join(root, 'services'),
  })
  const { info: relay } = await startReady(t, {
    name: 'relay',
    program: 'mesh',
    args: ['relay', '--port', '0', '--json'],
    home: join(root, 'services'),
  })
  const url = String(control.url)
  const relayAddress = String((relay.addresses as string[])[0])
  const start = (name: string, home: string): Promise<unknown> =>
    startReady(t, {
      name,
      program: 'mesh',
      args: ['start', '--json', '--listen', '/ip4/127.0.0.1/tcp/0', '--relay', relayAddress, '--threads', '1'],
      home,
    })

  await mesh(['init', '--network-id', 'home', '--name', 'Desktop', '--control-plane', url], { home: a })
  await mesh(['pool-create', '--name', 'home'], { home: a })
  await start('agent a', a)
  await mesh(['join-ring', '--model-id', 'tiny-story'], { home: a })

  const invite = (await mesh(['pool-invite'], { home: a })).trim()
  await mesh(['init', '--network-id', 'home', '--name', 'Laptop'], { home: b })
  await mesh(['pool-join', '--invite', invite], { home: b }) // tells it where the control plane is, too
  await start('agent b', b)
  await mesh(['join-ring', '--model-id', 'tiny-story'], { home: b })
  return { a, b, json }
}

const activeRing = ({ json, b }: Cluster): Promise<Printed<RingView>> =>
  eventually(30_000, 'the ring is active with both devices', async () => {
    const [ring] = await json<Printed<RingView>[]>(b, 'ring-status')
    return ring?.status === 'active' && ring.world_size === 2 ? ring : undefined
  })

describe('quick start', () => {
  it(
    'two agents, one prompt: the same text on both, and every read command tells of it',
    { timeout: 300_000 },
    async (t) => {
      const cluster = await quickStart(t)
      const { a, b, json } = cluster
      const ring = await activeRing(cluster)
      assert.deepEqual(
        ring.members.map(({ state }) => state),
        ['ready', 'ready'],
      )
      assert.deepEqual(
        ring.network?.links.map(({ from, to, measured, path }) => [from, to, measured, path]),
        [[0, 1, true, 'direct']],
      )
      assert.match(
        await mesh(['ring-status'], { home: a }),
        /0 - 1 +\d[\d.]* ms +\d[\d.]* Mbit\/s +direct\nsums: decode /,
      )

      const question = ['inference', '--prompt', 'Once upon a time', '--seed', '7', '--max-tokens', '24']
      const answer = await json<Answer>(b, ...question)
      assert.equal(answer.workers, 2)
      assert.equal(answer.tokens.length, 24)
      assert.equal(answer.finish_reason, 'length')
      assert.equal(answer.usage.completion_tokens, 24)
      assert.ok(answer.timings.decode_tokens_per_second > 0 && answer.timings.time_to_first_token_ms > 0)
      // the same seed on the same ring gives the same text, whoever asks; plain output is that text and a line end
      assert.equal(await mesh(question, { home: a }), answer.text.endsWith('\n') ? answer.text : `${answer.text}\n`)

      // text that looks like a special token is text, unless it is asked for
      const promptTokens = async (...more: string[]): Promise<number> =>
        (await json<Answer>(a, 'inference', '<|end|>', '--max-tokens', '1', ...more)).usage.prompt_tokens
      assert.equal(await promptTokens('--special'), 2)
      assert.ok((await promptTokens()) > 2)
      const tooLong = await runMesh(['inference', '-'], { home: b, input: 'a long story '.repeat(70_000) })
      assert.deepEqual(
        [tooLong.code, tooLong.stderr.replace(/\d+/, 'n').split('\n')[0]],
        [2, 'error: the prompt has at least n tokens, the context holds 512'],
      )

      const pools = await json<{ name: string; members: number; online: number }[]>(b, 'pool-list')
      assert.deepEqual(
        pools.map(({ name, members, online }) => [name, members, online]),
        [['home', 2, 2]],
      )
      const peers = await json<{ name: string; role: string; online: boolean }[]>(a, 'pool-peers')
      assert.deepEqual(peers.map(({ name, role, online }) => `${name} ${role} ${online}`).toSorted(), [
        'Desktop admin true',
        'Laptop member true',
      ])
      // a job counts on every device that worked on it, not on the one that led alone
      for (const home of [a, b]) {
        await eventually(10_000, 'the four jobs that ran are done', async () => {
          const {
            agent,
            control_plane: { registered },
          } = await json<Status>(home, 'status')
          return (registered && agent?.jobs.done === 4 && agent.jobs.running === 0) || undefined
        })
      }
      const shards = await json<{ rank: number; shard_bytes: number; state: string }[]>(b, 'shard-status')
      assert.equal(shards.length, 1)
      assert.ok(shards[0].state === 'ready' && shards[0].shard_bytes > 0)
      const { jobs } = await json<{ jobs: { state: string }[] }>(a, 'pool-status')
      assert.deepEqual(jobs.map(({ state }) => state).toSorted(), ['done', 'done', 'done', 'done'])

      for (const command of ['status', 'pool-list', 'pool-peers', 'pool-status', 'ring-status', 'shard-status']) {
        assert.match(await mesh([command], { home: b }), /home|tiny-story|Laptop/, command)
      }

      await mesh(['leave-ring', '--model-id', 'tiny-story'], { home: b })
      const alone = await eventually(20_000, 'the ring goes on with one device', async () => {
        const [now] = await json<Printed<RingView>[]>(a, 'ring-status')
        return now?.status === 'active' && now.world_size === 1 ? now : undefined
      })
      assert.ok(alone.epoch > ring.epoch)
      const again = await runMesh(['leave-ring', '--model-id', 'tiny-story'], { home: b })
      assert.deepEqual(
        [again.code, again.stderr.split('\n')[0]],
        [2, 'error: this device is in no ring for tiny-story'],
      )
      assert.equal(readAgentState(openHome(b))?.rings.length, 0)
    },
  )
})
