/** `mesh` as a process: exit codes and the two lines of every failure. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { openHome } from '../../shared/home.ts'
import { encodeInvite, inviteIdBytes, inviteSecretBytes } from '../../shared/identity/invite.ts'
import { newKeyPair, toHex } from '../../shared/identity/keys.ts'
import { environmentFor } from '../../shared/options.ts'
import { afterwards, temporaryFolder } from '../../test/support/homes.ts'
import { mesh, meshHere, runMesh, runProgram, startReady, within } from '../../test/support/processes.ts'
import { commandOf } from './programs.ts'

/** A port where nobody listens: it was free a moment ago. */
const closedPort = async (): Promise<number> => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 1
}

const initialised = async (t: TestContext): Promise<string> => {
  const home = temporaryFolder(t)
  await mesh(
    ['init', '--network-id', 'home', '--name', 'laptop', '--control-plane', `http://127.0.0.1:${await closedPort()}`],
    { home },
  )
  return home
}

/** Of a pool that nobody has: enough for what is checked before anybody is asked. */
const someInvite = (): string =>
  encodeInvite({
    rootPublicKey: newKeyPair().publicKey,
    inviteId: 'ab'.repeat(inviteIdBytes),
    secret: new Uint8Array(inviteSecretBytes),
    notAfter: Date.now() + 3600e3,
    urls: ['http://127.0.0.1:9'],
  })

const fails = async (
  args: readonly string[],
  home: string,
  wanted: { code: number; error: RegExp; hint: RegExp },
): Promise<void> => {
  const { code, stdout, stderr } = await meshHere(args, home)
  assert.equal(stdout, '')
  assert.match(stderr, /^error: [^\n]+\nhint: [^\n]+\n$/, `not two lines:\n${stderr}`)
  const [error, hint] = stderr.split('\n')
  assert.match(error, wanted.error)
  assert.match(hint, wanted.hint)
  assert.equal(code, wanted.code)
}

describe('mesh', () => {
  it('--version and --help end with 0', async (t) => {
    const home = temporaryFolder(t)
    assert.match(await mesh(['--version'], { home }), /^\d+\.\d+\.\d+\n$/)
    assert.match(await mesh(['--help'], { home }), /Commands:/)
    assert.deepEqual(existsSync(join(home, 'device.key')), false)
  })

  it('a wrong command line ends with 2', async (t) => {
    const home = temporaryFolder(t)
    await fails(['pool-lst'], home, { code: 2, error: /did you mean mesh pool-list \(/, hint: /mesh pool-list --help/ })
    await fails(['init', '--name', 'x'], home, {
      code: 2,
      error: /mesh init needs --network-id <name>/,
      hint: /mesh init --help/,
    })
    await fails(['inference', '--prompt', ' '], home, { code: 2, error: /the prompt is empty/, hint: /mesh inference/ })
    await fails(['init', '--network-id', 'n', '--name', 'a\nb'], home, {
      code: 2,
      error: /--name wants/,
      hint: /mesh init --help/,
    })
    await fails(['init', '--network-id', 'n', '--name', 'x', '--control-plane', 'nowhere'], home, {
      code: 2,
      error: /--control-plane wants an address/,
      hint: /mesh init --help/,
    })
  })

  it('an invite may come by standard input, where no list of processes shows it', async (t) => {
    const home = temporaryFolder(t)
    const [file, ...args] = commandOf('mesh')
    for (const command of [
      ['join', '-'],
      ['pool-join', '--invite', '-'],
    ]) {
      const { status, stderr } = spawnSync(file, [...args, ...command], {
        env: environmentFor(home),
        input: 'mesh-invite:AAAA\n',
        encoding: 'utf8',
      })
      assert.deepEqual(
        [status, stderr.split('\n').find((line) => line.startsWith('error: '))],
        [7, 'error: the invite is not valid: it is damaged, or a part of it is missing'],
      )
    }
  })

  it('a device that is not set up ends every command with 3', async (t) => {
    const home = temporaryFolder(t)
    for (const command of [
      ['status'],
      ['start'],
      ['pool-list'],
      ['pool-create', '--name', 'x'],
      ['shard-status'],
      ['join-ring'],
      ['inference', '--prompt', 'x'],
    ]) {
      await fails(command, home, {
        code: 3,
        error: new RegExp(`no device is set up in ${home}`),
        hint: /mesh init --network-id/,
      })
    }
  })

  it('init works without a control plane, keeps its key when repeated, and another network is refused with 3', async (t) => {
    const home = await initialised(t)
    const again = JSON.parse(
      await mesh(['init', '--network-id', 'home', '--name', 'desk', '--yes', '--json'], { home }),
    ) as Record<string, unknown>
    assert.deepEqual([again.created, again.registered, again.name], [false, false, 'desk'])
    const { code, stdout } = await meshHere(['status', '--json'], home)
    assert.equal(code, 3) // no agent runs
    const status = JSON.parse(stdout) as {
      device: { device_id: string }
      agent: unknown
      control_plane: { reachable: boolean; problem: string }
    }
    assert.deepEqual(
      [status.device.device_id, status.agent, status.control_plane.reachable],
      [again.device_id, null, false],
    )
    assert.match(status.control_plane.problem, /ECONNREFUSED/)
    await fails(['init', '--network-id', 'other', '--name', 'desk'], home, {
      code: 3,
      error: /a device named desk is already set up/,
      hint: /--network-id .*MESHNET_HOME/,
    })
    await fails(['shard-status'], home, { code: 3, error: /no agent is running/, hint: /mesh start/ })
  })

  it('init and join ask before they rename a device that is set up; without a terminal they want --yes', async (t) => {
    const home = await initialised(t)
    const nameOf = (): string => readFileSync(openHome(home).config, 'utf8')
    const before = nameOf()
    const changes: readonly (readonly [readonly string[], RegExp])[] = [
      [['init', '--network-id', 'home', '--name', 'desk'], /set up already, as "laptop": its name would become "desk"/],
      [
        ['init', '--network-id', 'home', '--name', 'laptop', '--control-plane', 'http://other:1'],
        /its control plane would become https:\/\/other:1 \(now http:\/\/127\.0\.0\.1/,
      ],
      [['join', someInvite(), '--name', 'desk', '--no-start'], /its name would become "desk"/],
    ]
    for (const [args, error] of changes) {
      await fails(args, home, { code: 3, error, hint: /--yes/ })
      assert.equal(nameOf(), before, args[0])
    }
    await mesh(['init', '--network-id', 'home', '--name', 'laptop'], { home })
    assert.equal(nameOf(), before)
  })

  it('a control plane that is away ends with 4', async (t) => {
    const home = await initialised(t)
    const created = await mesh(['pool-create', '--name', 'home'], { home })
    assert.match(created, /published by: mesh start/)
    for (const command of [
      ['pool-peers'],
      ['ring-status'],
      ['pool-status'],
      ['join-ring'],
      ['leave-ring'],
      ['ring-remove'],
      ['inference', '--prompt', 'x'],
    ]) {
      await fails(command, home, {
        code: 4,
        error: /no control plane answers at http:\/\/127\.0\.0\.1/,
        hint: /mesh control-plane/,
      })
    }
  })

  it('a pool is kept locally, listed with what others need, and made once', async (t) => {
    const home = await initialised(t)
    const first = JSON.parse(await mesh(['pool-create', '--name', 'home', '--json'], { home })) as {
      pool_id: string
      root_public_key: string
      join: string
      created: boolean
    }
    const second = JSON.parse(await mesh(['pool-create', '--name', 'home', '--json'], { home })) as {
      pool_id: string
      created: boolean
    }
    assert.deepEqual([second.pool_id, second.created], [first.pool_id, false])
    assert.equal(first.join, `mesh pool-join --pool-id ${first.pool_id} --pool-root-pubkey ${first.root_public_key}`)
    const listed = await mesh(['pool-list'], { home })
    assert.ok(listed.includes(first.pool_id) && listed.includes(first.root_public_key))
    assert.ok(existsSync(openHome(home).pool(first.pool_id).rootKey))
  })

  it('a model that is not there or damaged ends with 5', async (t) => {
    const home = await initialised(t)
    await mesh(['pool-create', '--name', 'home'], { home })
    await fails(['join-ring', '--model-id', 'huge'], home, {
      code: 5,
      error: /no model huge on this device/,
      hint: /--model-dir/,
    })
    await fails(['join-ring', '--model-id', 'huge', '--model-dir', home], home, {
      code: 5,
      error: /config\.json is missing/,
      hint: /download/,
    })
  })

  it('a pool id of another key ends with 7, without asking anybody', async (t) => {
    const home = await initialised(t)
    await fails(
      ['pool-join', '--pool-id', 'ab'.repeat(32), '--pool-root-pubkey', toHex(newKeyPair().publicKey)],
      home,
      { code: 7, error: /does not belong to that root public key/, hint: /pool-list/ },
    )
    await fails(['pool-join', '--pool-id', 'ab', '--pool-root-pubkey', 'cd'], home, {
      code: 2,
      error: /--pool-id wants at least 8 hex digits of a pool id \(mesh pool-list shows it\), got "ab"/,
      hint: /mesh pool-join --help/,
    })
  })

  it('a device without a pool is told how to get one', async (t) => {
    const home = await initialised(t)
    await fails(['pool-peers'], home, { code: 3, error: /in no pool/, hint: /pool-create/ })
    assert.match(await mesh(['pool-list'], { home }), /mesh pool-create/)
  })

  it('a service that is told to stop ends with 0, and its own exit code comes through', async (t) => {
    const home = temporaryFolder(t)
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const { process, info } = await startReady(t, {
        name: 'relay',
        program: 'mesh',
        args: ['relay', '--port', '0', '--json'],
        home,
      })
      assert.match(String((info.addresses as string[])[0]), /^\/ip4\/127\.0\.0\.1\/tcp\/\d+\/p2p\//)
      process.signal(signal)
      assert.equal((await within(10_000, 'the relay ends', process.ended)).code, 0)
    }
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    afterwards(t, () => server.close())
    const address = server.address()
    const port = String(typeof address === 'object' && address !== null ? address.port : 0)
    const taken = await runMesh(['control-plane', '--port', port], { home })
    assert.equal(taken.code, 3)
    assert.match(taken.stderr, new RegExp(`error: port ${port} is in use\nhint: choose another with --port`))
  })

  it('output that nobody reads, or that cannot be written, ends it: without a word, or with the reason', async (t) => {
    const home = temporaryFolder(t)
    for (const [program, ...args] of [
      ['mesh', '--help'],
      ['mesh', 'relay', '--port', '0', '--log-level', 'silent'],
      // without --json it says on stderr what room it takes
      ['bench', '--shape', 'tiny', '--workers', '1', '--prompt-tokens', '4', '--tokens', '2', '--runs', '1', '--json'],
    ] as const) {
      const [file, ...start] = commandOf(program)
      const child = spawn(file, [...start, ...args], {
        env: environmentFor(home),
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: 120_000,
        killSignal: 'SIGKILL',
      })
      child.stdout.destroy()
      let stderr = ''
      child.stderr.setEncoding('utf8').on('data', (part: string) => (stderr += part))
      const [code] = (await once(child, 'close')) as [number | null]
      assert.deepEqual([code, stderr], [141, ''], args.join(' '))
    }
    if (!existsSync('/dev/full')) return // only Linux has a disk that is always full
    const full = await runProgram('/bin/sh', ['-c', '"$@" > /dev/full', 'sh', ...commandOf('mesh'), '--help'], { home })
    assert.deepEqual(
      [full.code, full.stderr.split('\n')[0]],
      [3, 'error: cannot write the output: ENOSPC: no space left on device, write'],
    )
  })

  it('output is as wide as COLUMNS says where there is no terminal, and not broken without it', async (t) => {
    const home = await initialised(t)
    await mesh(['pool-create', '--name', 'a pool whose name is longer than forty columns'], { home })
    const widest = async (env: Record<string, string>): Promise<number> =>
      Math.max(...(await runMesh(['status'], { home, env })).stdout.split('\n').map(({ length }) => length))
    assert.ok((await widest({ COLUMNS: '40' })) <= 40)
    assert.ok((await widest({ COLUMNS: '' })) > 60)
  })

  it('an option may come from the environment', async (t) => {
    const home = await initialised(t)
    const { code, stderr } = await runMesh(['join-ring'], { home, env: { MESHNET_MODEL: 'from-env' } })
    assert.equal(code, 3) // no pool yet: but a bad value is refused before
    assert.match(stderr, /in no pool/)
    const bad = await runMesh(['status'], { home, env: { MESHNET_LOG: 'loud' } })
    assert.equal(bad.code, 2)
    assert.match(bad.stderr, /--log-level wants one of/)
  })
})
