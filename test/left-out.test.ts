/**
 * One member of a ring has no room on its disk: the others answer without it, with the same text, and everybody is told
 * why. When there is room again it takes part, and nobody has to do anything.
 */
import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { it } from 'node:test'
import type { Printed } from '../shared/printed.ts'
import type { RingView } from '../shared/schema/ring.ts'
import { temporaryFolder } from './support/homes.ts'
import { eventually, mesh, startReady } from './support/processes.ts'
import { createSmallDisk, smallDiskImpossible } from './support/small-disk.ts'

const prompt = ['inference', 'Once upon a time', '--max-tokens', '60', '--temperature', '0', '--wait', '60s']

it(
  'a member whose disk is full: the others go on by themselves, and so does it when there is room',
  { skip: smallDiskImpossible(), timeout: 240_000 },
  async (t) => {
    const root = temporaryFolder(t)
    const disk = createSmallDisk(t, 40)
    const [first, full] = [join(root, 'first'), join(disk.folder, 'full')]
    const { info } = await startReady(t, {
      name: 'control plane',
      program: 'mesh',
      args: ['control-plane', '--port', '0', '--json'],
      home: join(root, 'services'),
    })
    const start = (home: string): ReturnType<typeof startReady> =>
      startReady(t, {
        name: 'agent',
        program: 'mesh',
        args: ['start', '--json', '--listen', '/ip4/127.0.0.1/tcp/0', '--threads', '1'],
        home,
      })
    await mesh(['init', '--network-id', 'home', '--name', 'First', '--control-plane', String(info.url)], {
      home: first,
    })
    await mesh(['init', '--network-id', 'home', '--name', 'Full', '--control-plane', String(info.url)], { home: full })
    await mesh(['pool-create', '--name', 'home'], { home: first })
    const agents = [(await start(first)).process]
    await mesh(['pool-join', '--invite', (await mesh(['pool-invite'], { home: first })).trim()], { home: full })
    agents.push((await start(full)).process)
    const ring = async (is: (ring: Printed<RingView>) => boolean, what: string): Promise<Printed<RingView>> =>
      eventually(60_000, what, async () => {
        const [found] = JSON.parse(await mesh(['ring-status', '--json'], { home: first })) as Printed<RingView>[]
        return found && is(found) ? found : undefined
      })
    const serve = ['join-ring', '--model-id', 'tiny-story', '--quant', 'f32']
    await mesh(serve, { home: first })
    await ring(({ status }) => status === 'active', 'one serves')
    const text = await mesh(prompt, { home: first })

    // room for small files, and not for its part of the weights
    writeFileSync(join(disk.folder, 'reserve'), Buffer.alloc(3e5))
    disk.fill()
    rmSync(join(disk.folder, 'reserve'))
    await mesh(serve, { home: full })
    const isOut = ({ status, world_size, members }: Printed<RingView>): boolean =>
      status === 'active' && world_size === 1 && members.some(({ left_out }) => left_out)
    const { members } = await ring(isOut, 'the ring goes on without the one whose disk is full')
    assert.equal(members.find(({ name }) => name === 'Full')?.error?.code, 'diskFull')
    assert.equal(await mesh(prompt, { home: first }), text)
    assert.equal(await mesh(prompt, { home: full }), text)
    const says =
      /left out: cannot write .*the\s+disk\s+is\s+full\s+\(.* needed\);\s+(tried\s+again\s+in|it\s+is\s+tried)/
    for (const [command, home] of [
      ['ring-status', first],
      ['pool-status', first],
      ['status', full],
    ] as const) {
      assert.match((await mesh([command], { home })).replaceAll(/\s+/g, ' '), says, command)
    }

    disk.free()
    const { epoch } = await ring(({ status, world_size }) => status === 'active' && world_size === 2, 'both serve')
    assert.equal(await mesh(prompt, { home: first }), text)
    assert.doesNotMatch(await mesh(['status'], { home: full }), /left out/)
    assert.equal((await ring(() => true, 'it stays so')).epoch, epoch)
    assert.deepEqual([agents[0].running, agents[1].running], [true, true])
  },
)
