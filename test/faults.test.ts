/** What goes wrong between real processes, and what the people in front of them are told. */
import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { describe, it, test, type TestContext } from 'node:test'
import { type ManagedProcess, startProcess } from '../agent/cli/managed-process.ts'
import { ggmlComes } from '../agent/engine/test/platform.ts'
import { openHome, readStateJson, writeStateJson } from '../shared/home.ts'
import type { Printed } from '../shared/printed.ts'
import type { RingView } from '../shared/schema/ring.ts'
import { afterwards, temporaryFolder } from './support/homes.ts'
import { childrenOf } from './support/leftovers.ts'
import { eventually, mesh, patience, runMesh, startPrompt, startReady } from './support/processes.ts'

interface Device {
  readonly home: string
  start(...more: string[]): Promise<ManagedProcess>
}

interface Pool {
  readonly devices: readonly [Device, Device]
  ring(): Promise<Printed<RingView>>
  /** Ends the control plane and starts it again at its address. */
  restartControlPlane(): Promise<void>
}

/** A control plane and two devices in one pool and one ring; agents not started yet. */
const createPool = async (t: TestContext): Promise<Pool> => {
  const root = temporaryFolder(t)
  const startPlane = async (port: string): Promise<{ readonly process: ManagedProcess; readonly url: string }> => {
    const { process, info } = await startReady(t, {
      name: 'control plane',
      program: 'mesh',
      args: ['control-plane', '--port', port, '--json', '--ring-grace', '1s', '--lease', '60s', '--heartbeat', '500ms'],
      home: join(root, 'services'),
    })
    return { process, url: String(info.url) }
  }
  let plane = await startPlane('0')
  const device = (name: string): Device => {
    const home = join(root, name)
    const args = ['start', '--json', '--listen', '/ip4/127.0.0.1/tcp/0', '--threads', '1']
    return {
      home,
      start: async (...more) =>
        (await startReady(t, { name, program: 'mesh', args: [...args, ...more], home })).process,
    }
  }
  const [first, second] = [device('first'), device('second')]
  const init = ['init', '--network-id', 'home', '--control-plane', plane.url, '--name']
  await mesh([...init, 'First'], { home: first.home })
  await mesh([...init, 'Second'], { home: second.home })
  await mesh(['pool-create', '--name', 'home'], { home: first.home })
  const admin = await first.start()
  await mesh(['pool-join', '--invite', (await mesh(['pool-invite'], { home: first.home })).trim()], {
    home: second.home,
  })
  await mesh(['join-ring', '--model-id', 'tiny-story'], { home: first.home })
  await mesh(['join-ring', '--model-id', 'tiny-story'], { home: second.home })
  await admin.stop()
  return {
    devices: [first, second],
    ring: async () => {
      const [view] = JSON.parse(await mesh(['ring-status', '--json'], { home: first.home })) as Printed<RingView>[]
      return view
    },
    restartControlPlane: async () => {
      await plane.process.stop()
      plane = await startPlane(new URL(plane.url).port)
    },
  }
}

const activeWith = (worldSize: number, ring: () => Promise<Printed<RingView>>): Promise<Printed<RingView>> =>
  eventually(40_000, `the ring is active with ${worldSize}`, async () => {
    const view = await ring()
    return view.status === 'active' && view.world_size === worldSize ? view : undefined
  })

const longPrompt = [
  'inference',
  '--prompt',
  'Once upon a time',
  '--max-tokens',
  '450',
  '--temperature',
  '1',
  '--seed',
  '3',
]
const shortPrompt = ['inference', '--prompt', 'Once upon a time', '--max-tokens', '12', '--seed', '3']

describe('faults', () => {
  it('an agent in a home without a device says what to do', async (t) => {
    const result = await runMesh(['start'], { home: join(temporaryFolder(t), 'empty') })
    assert.equal(result.code, 3)
    assert.match(result.stderr, /^error: no device is set up in .*\nhint: .*mesh init/m)
  })

  it(
    'of agents that start in one home at once one runs, and the others name it, also after it was killed',
    { timeout: 300_000 },
    async (t) => {
      const home = join(temporaryFolder(t), 'device')
      const init = ['init', '--network-id', 'home', '--name', 'One', '--control-plane', 'http://127.0.0.1:9', '--json']
      const devices = await Promise.all(
        [1, 2, 3].map(async () => (JSON.parse(await mesh(init, { home })) as { device_id: string }).device_id),
      )
      assert.equal(new Set(devices).size, 1, 'one key, whoever made it first')
      for (let round = 0; round < 3; round++) {
        const agents = [1, 2, 3].map((index) =>
          startProcess({
            name: `agent ${index}`,
            program: 'mesh',
            args: ['start', '--json', '--listen', '/ip4/127.0.0.1/tcp/0', '--discovery', 'none'],
            home,
          }),
        )
        for (const agent of agents) afterwards(t, () => agent.stop())
        const ready = await Promise.all(
          agents.map((agent) =>
            agent.ready.then(
              () => true,
              () => false,
            ),
          ),
        )
        assert.deepEqual(
          ready.toSorted(),
          [false, false, true],
          agents.map((agent) => agent.tail().join('\n')).join('\n'),
        )
        const running = agents[ready.indexOf(true)]
        for (const refused of agents.filter((agent) => agent !== running)) {
          assert.equal((await refused.ended).code, 3)
          assert.match(
            refused.tail().join('\n'),
            new RegExp(`^error: an agent for .* is already running \\(process ${running.pid}\\)`, 'm'),
          )
        }
        running.signal('SIGKILL')
        await running.ended
      }
    },
  )

  it(
    'out of file descriptors an agent lives on, says so, and serves when some are free',
    { timeout: 300_000 },
    async (t) => {
      const home = join(temporaryFolder(t), 'device')
      await mesh(['init', '--network-id', 'home', '--name', 'Few', '--control-plane', 'http://127.0.0.1:9'], { home })
      const through = ['bash', '-c', 'ulimit -n 60 && exec "$@"', 'bash']
      const { process: agent, info } = await startReady(t, {
        name: 'agent',
        program: 'mesh',
        args: ['start', '--json', '--listen', '/ip4/0.0.0.0/tcp/0', '--discovery', 'none'],
        home,
        through,
      })
      const port = Number(/\/tcp\/(\d+)/.exec((info.addresses as string[])[0])?.[1])
      const strangers: Socket[] = []
      const knock = (): void => void strangers.push(connect(port, '127.0.0.1').on('error', () => undefined))
      afterwards(t, () => strangers.forEach((stranger) => stranger.destroy()))
      for (let count = 0; count < 100; count++) knock()
      await eventually(30_000, 'the agent says that it has none left', () => {
        knock() // who was turned away comes again
        return agent.tail().some((line) => line.includes('out of file descriptors')) ? true : undefined
      })
      for (const stranger of strangers) stranger.destroy()
      await eventually(
        20_000,
        'the agent answers again',
        () =>
          new Promise<true | undefined>((resolve) => {
            const guest = connect(port, '127.0.0.1', () => guest.write('\x13/multistream/1.0.0\n'))
            guest
              .once('data', () => resolve(true))
              .on('error', () => resolve(undefined))
              .once('close', () => resolve(undefined))
            strangers.push(guest)
          }),
      )
      assert.ok(agent.running)
    },
  )

  it(
    'an agent waits for a control plane that is not there yet, says so, and connects when it comes',
    { timeout: 300_000 },
    async (t) => {
      const root = temporaryFolder(t)
      const home = join(root, 'device')
      // a port that was free a moment ago
      const { process: probe, info } = await startReady(t, {
        name: 'probe',
        program: 'mesh',
        args: ['control-plane', '--port', '0', '--json'],
        home: join(root, 'probe'),
      })
      const url = String(info.url)
      await probe.stop()
      await mesh(['init', '--network-id', 'home', '--name', 'Early', '--control-plane', url], { home })
      const { process: agent } = await startReady(t, {
        name: 'agent',
        program: 'mesh',
        args: ['start', '--json', '--listen', '/ip4/127.0.0.1/tcp/0'],
        home,
      })
      await eventually(10_000, 'the agent says that nobody answers', () =>
        agent.tail().some((line) => line.includes('no connection to the control plane')) ? true : undefined,
      )
      const status = await runMesh(['ring-status'], { home })
      assert.equal(status.code, 3)
      await startReady(t, {
        name: 'control plane',
        program: 'mesh',
        args: ['control-plane', '--port', new URL(url).port, '--json'],
        home: join(root, 'services'),
      })
      await eventually(20_000, 'the agent is connected', async () => {
        const { agent: state } = JSON.parse(await mesh(['status', '--json'], { home })) as {
          agent: { control_plane: { connected: boolean } } | null
        }
        return state?.control_plane.connected ? true : undefined
      })
    },
  )
})

/** One pool for all that follows: what one test breaks is whole again at its end. */
test('faults of a ring', { timeout: 900_000 }, async (t) => {
  const { devices, ring, restartControlPlane } = await createPool(t)
  const [first, second] = devices
  const homes = devices.map(({ home }) => home)

  await t.test('a process that got the id of an agent that was killed is not taken for it', async () => {
    const killed = await first.start()
    const file = openHome(first.home).agentState
    const state = await eventually(10_000, 'the agent wrote its state', () => readStateJson(file) as object | undefined)
    killed.signal('SIGKILL')
    await killed.ended
    writeStateJson(file, { ...state, pid: process.pid }) // ours: a process that is no agent
    const { code, stdout } = await runMesh(['status'], { home: first.home })
    assert.equal(code, 3)
    assert.match(stdout, /agent +not running/)
  })

  const agents = [await first.start()]

  await t.test('a prompt longer than the context is refused with both numbers', async () => {
    await activeWith(1, ring)
    const result = await runMesh(['inference', '--prompt', 'the cat sat on the mat and '.repeat(200)], {
      home: first.home,
    })
    assert.equal(result.code, 2)
    assert.match(result.stderr, /^error: the prompt has \d{4} tokens, the context holds 512$/m)
    assert.match(result.stderr, /^hint: shorten the prompt$/m)
    assert.match(await mesh(shortPrompt, { home: first.home }), /\w/)
  })

  agents.push(await second.start())
  const formed = await activeWith(2, ring)
  const text = await mesh(shortPrompt, { home: first.home })

  // ggml computes in a process of its own
  if (ggmlComes)
    for (const [index, name] of ['First', 'Second'].entries())
      await t.test(
        `a native crash on rank ${index}: its agent lives on, the job says where, the next one runs to the same text`,
        async () => {
          const { epoch, network } = await activeWith(2, ring)
          if (index === 0) assert.equal(network?.carrier, 'sockets')
          const { begun, result: running } = startPrompt(longPrompt, { home: first.home, timeoutMs: 240_000 })
          await begun
          const [computing] = childrenOf(agents[index].pid, 'ggml/process-main.ts')
          assert.ok(computing, 'the agent computes in a process of its own')
          process.kill(computing, 'SIGSEGV')
          const result = await running
          assert.equal(result.code, 6)
          assert.match(
            result.stderr,
            new RegExp(
              `^error: ${name} \\(rank ${index}\\) could not compute: "?the ggml backend failed: ` +
                `(the compute process ended \\(SIGSEGV\\)|the cache of sequence \\d+ is gone: ` +
                '.* died and was started again)',
              'm',
            ),
          )
          assert.match(result.stderr, /^hint: repeat the job/m)
          assert.equal(await mesh(shortPrompt, { home: first.home }), text)
          assert.ok(agents.every(({ running: isAlive }) => isAlive))
          const [again] = childrenOf(agents[index].pid, 'ggml/process-main.ts')
          assert.ok(again && again !== computing, 'another process computes now')
          const after = await eventually(5000, 'the status tells that sums go over streams', async () => {
            const view = await ring()
            return view.network?.carrier === 'streams' ? view : undefined
          })
          assert.match(after.network?.streams_reason ?? '', /^a job failed \(rankFailed: /)
          assert.equal(after.epoch, epoch) // nothing was lost, so nothing had to form anew
        },
      )

  await t.test('the control plane restarts while the ring is idle: the next prompt runs', async () => {
    await restartControlPlane()
    const again = await activeWith(2, ring)
    assert.equal(again.epoch, formed.epoch) // nothing was lost, so nothing had to form anew
    assert.equal(await mesh(shortPrompt, { home: first.home }), text)
  })

  for (const [index, victim, code, said] of [
    [1, 'follower', 6, /lost Second \(rank 1\)/],
    [0, 'leader', 6, /the agent that ran the job went away: First/],
  ] as const)
    await t.test(
      `a ${victim} killed in the middle of a prompt: clear error within 10 s, next job runs when it is back`,
      async () => {
        await activeWith(2, ring)
        const asker = homes[1 - index]
        const { begun, result: running } = startPrompt(longPrompt, { home: asker, timeoutMs: 240_000 })
        await begun
        const killed = Date.now()
        agents[index].signal('SIGKILL')
        const result = await running
        assert.ok(Date.now() - killed < patience * 10_000, `took ${Date.now() - killed} ms`)
        assert.equal(result.code, code)
        assert.match(result.stderr, said)
        assert.match(result.stderr, /^hint: /m)
        agents[index] = await devices[index].start()
        await activeWith(2, ring)
        assert.match(await mesh(shortPrompt, { home: asker }), /\w/)
      },
    )

  await t.test(
    'a leader whose process stands still: the job ends by its name long before its lease, and the next one runs when it goes on',
    async (context) => {
      await restartControlPlane() // which forgets that they came and went
      for (const agent of agents) await agent.stop()
      const [leader] = [await first.start('--step-timeout', '5s'), await second.start('--step-timeout', '5s')]
      await activeWith(2, ring)
      const { begun, result: running } = startPrompt(longPrompt, { home: second.home, timeoutMs: 240_000 })
      await begun
      afterwards(context, () => leader.signal('SIGCONT'))
      leader.signal('SIGSTOP')
      const stopped = Date.now()
      const { code, stderr } = await running
      assert.ok(Date.now() - stopped < patience * 20_000, `took ${Date.now() - stopped} ms`)
      assert.equal(code, 6)
      assert.match(
        stderr,
        /^error: Second \(rank 1\) gave up: "rank 0 \(First\) did not answer within 5 s"\nhint: repeat the job/m,
      )
      leader.signal('SIGCONT')
      await activeWith(2, ring)
      assert.match(await mesh(shortPrompt, { home: second.home }), /\w/)
    },
  )
})
