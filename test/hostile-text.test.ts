/**
 * Members, and the host of the control plane, who write what steers terminals: into names, reasons, errors and answers.
 * Every command is run for real against a real control plane, into a terminal and into a pipe.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, it } from 'node:test'
import Database from 'better-sqlite3'
import { Value } from 'typebox/value'
import { allCommands } from '../agent/cli/commands.ts'
import { runCli } from '../agent/cli/run.ts'
import { noInput } from '../agent/cli/standard-input.ts'
import { createDeviceClient } from '../agent/device/control-plane.ts'
import { loadDevice } from '../agent/device/device.ts'
import { listPools } from '../agent/device/pools.ts'
import { createKey, FakeAgent, manifest, quickSettings, startPlane, TestDevice } from '../control-plane/test/plane.ts'
import { type Home, openHome } from '../shared/home.ts'
import type { KeyPair } from '../shared/identity/keys.ts'
import { issueCertificate } from '../shared/identity/pool-certificate.ts'
import { GivenName } from '../shared/schema/common.ts'
import { temporaryFolder } from './support/homes.ts'

const commands = await allCommands()

/**
 * Title, clear screen, clipboard, question to the terminal, C1 control, another direction, unseen, a line like ours.
 */
const steering =
  '\u001b]0;owned\u0007\u001b[2J\u001b]52;c;b3du\u0007\u001b[5n\u009b31m\u202egnp\u2066\u200bx\u2028\r\nerror: ' +
  'forged\nhint: forged\u{e0041}'
/** What passed as a name before such names were refused. */
const hostileName = 'evil\u009b2J\u202e\u200b'
/** All that our own text may steer a terminal with. */
const ours = [
  String.raw`\u001b\[(?:1|2|22|3[0-7]|39|9[0-7])m`,
  String.raw`\u001b\[J`,
  String.raw`\u001bD\u001b\[1A\u001b7\u001b\[1B\r`,
  String.raw`\u001b8`,
  String.raw`\r?\u001b\[K`,
  String.raw`\r(?=\[[#.]{20}\])`,
].map((pattern) => new RegExp(pattern, 'g'))

const cleaning: (() => void | Promise<void>)[] = []
/** What tests clean up at their end, for the whole file. */
const file = { after: (clean: () => void | Promise<void>): void => void cleaning.push(clean) }

interface Scene {
  readonly home: Home
  readonly url: string
  readonly poolId: string
  readonly evil: TestDevice
  /** Leads the ring, fails jobs, and says so in its own way. */
  readonly agent: FakeAgent
  readonly keyId: string
  readonly asking: readonly TestDevice[]
}
let scene: Scene

interface Result {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const run = async (home: Home, args: readonly string[], isTTY: boolean): Promise<Result> => {
  const written = { stdout: '', stderr: '' }
  const output = (name: keyof typeof written) => ({
    isTTY,
    columns: 80,
    write: (text: string) => void (written[name] += text),
  })
  const code = await runCli(args, {
    home,
    stdin: noInput(),
    stdout: output('stdout'),
    stderr: output('stderr'),
    colour: isTTY,
    now: Date.now,
    fetch,
    signal: new AbortController().signal,
  })
  return { code, ...written }
}

const works = async (home: Home, ...args: string[]): Promise<string> => {
  const { code, stdout, stderr } = await run(home, args, false)
  assert.equal(code, 0, `mesh ${args.join(' ')}: ${stderr}`)
  return stdout
}

/**
 * Nothing in it does anything to a terminal, and no line of it was written by somebody else, unless it is an answer.
 */
const assertHarmless = (text: string, what: string, { isAnswer = false } = {}): void => {
  const rest = ours.reduce((left, sequence) => left.replaceAll(sequence, ''), text)
  const found = /[^\P{Cc}\n\t]|\p{Cf}|[\u2028\u2029]/u.exec(rest)
  assert.equal(
    found,
    null,
    `${what}: ${JSON.stringify(found && rest.slice(Math.max(0, found.index - 40), found.index + 40))}`,
  )
  if (!isAnswer) assert.doesNotMatch(rest, /^(error|hint): forged/m, what)
}

/** A member whose name is as bad as an older control plane let it be. */
const hostileMember = async (url: string, root: KeyPair, home: Home, poolId: string): Promise<TestDevice> => {
  const device = new TestDevice('evil')
  await device.register(url)
  const certificate = issueCertificate(root, { deviceId: device.deviceId, role: 'member' }, Date.now())
  device.certificates.set(poolId, certificate)
  await createDeviceClient({ home, device: loadDevice(home) }).call('publishCertificate', {
    params: { poolId },
    body: { certificate },
  })
  return device
}

const setTheScene = async (): Promise<Scene> => {
  const root = temporaryFolder(file)
  const home = openHome(join(root, 'home'))
  const plane = await startPlane(file as never, undefined, { ...quickSettings, leaseMs: 600_000 })
  const { url } = plane
  await works(home, 'init', '--network-id', 'home', '--name', 'Mine', '--control-plane', url)
  await works(home, 'pool-create', '--name', 'home')
  const [{ poolId, rootKey }] = listPools(home)
  assert.ok(rootKey)
  const evil = await hostileMember(url, rootKey, home, poolId)
  const { keyId } = await createKey(evil, { poolId }, url)
  const asking = [new TestDevice('asks one'), new TestDevice('asks two')]
  for (const device of asking) {
    await device.register(url)
    await device.client(url).call('requestJoin', {
      params: { poolId },
      body: { rootPublicKey: Buffer.from(rootKey.publicKey).toString('hex') },
    })
  }
  const database = new Database(join(plane.folder, 'mesh.sqlite'))
  database.prepare('update devices set name = ? where device_id != ?').run(hostileName, loadDevice(home).deviceId)
  database.prepare('update pools set name = ?').run(hostileName)
  database.prepare('update api_keys set name = ?').run(hostileName)
  database.close()
  const agent = await FakeAgent.connect(file as never, evil, url)
  await evil.client(url).call('joinRing', { params: { poolId }, body: { model: manifest, quant: 'q8', share: 1 } })
  const {
    ring: { ringId, epoch },
  } = await agent.next('ring-epoch')
  agent.send({
    type: 'ring-state',
    ringId,
    epoch,
    state: 'ready',
    progress: 1,
    network: {
      links: [],
      slowest: { roundTripMs: 1, bytesPerSecond: 1e6 },
      collective: 'auto',
      carrier: 'streams',
      streamsReason: steering,
      decode: { bytes: 1, algorithm: 'ring' },
      prefill: { bytes: 1, algorithm: 'ring' },
    },
  })
  await agent.next('ring-active')
  return { home, url, poolId, evil, agent, keyId, asking }
}

before(async () => {
  scene = await setTheScene()
})

after(async () => {
  for (const clean of cleaning.toReversed()) await clean()
})

/** Each command as it shows what others wrote, or why it shows nothing of theirs. */
const shown: Readonly<Record<string, (() => string[]) | string>> = {
  'pool-list': () => [],
  'pool-peers': () => [],
  'pool-status': () => [],
  'pool-requests': () => [],
  'ring-status': () => [],
  'shard-status': () => [],
  status: () => [],
  credits: () => [],
  quota: () => [],
  ledger: () => [],
  'ledger-verify': () => [],
  'api-key-list': () => [],
  'resource-status': () => [],
  'pool-invite': () => [],
  logs: () => [],
  'leave-ring': () => ['--model-id', 'tiny'],
  'unlock-resources': () => [],
  'lock-resources': () => ['--memory', '1MB'],
  'join-ring': () => ['--model-id', 'tiny-story'],
  'api-key-create': () => ['--name', 'app'],
  'pool-create': () => ['--name', 'home'],
  init: () => ['--network-id', 'home', '--name', 'Mine'],
  'pool-join': () => ['--pool-id', scene.poolId, '--pool-root-pubkey', listPools(scene.home)[0].rootPublicKey],
  inference: () => ['--model-id', 'tiny', '--prompt', 'x', '--wait', '5s'],
  'pool-approve': () => ['--device', scene.asking[0].deviceId],
  'pool-deny': () => ['--device', scene.asking[1].deviceId],
  'api-key-revoke': () => ['--key', scene.keyId],
  'pool-remove': () => ['--device', scene.asking[0].deviceId],
  down: () => [],
  shards: () => [],
  'ring-remove': () => ['--model-id', 'tiny-story'],
  'model-list': () => [],
  'model-add': 'paths of this machine, and a name that is checked',
  'model-show': 'paths of this machine, and names that are checked',
  'model-remove': 'a name that is checked',
  'model-plan': 'devices as they were typed, and numbers',
  'model-pull': 'names of files that are checked, and numbers',
  demo: 'a pool of its own',
  up: 'names of this machine, and logs',
  join: 'as pool-join',
  start: 'addresses of this machine',
  bench: 'no other device',
  relay: 'addresses of this machine',
  'control-plane': 'addresses of this machine',
  'service-install': 'files of this machine',
  'service-remove': 'files of this machine',
  'control-plane-key': 'digits of this device',
  'control-plane-export-key': 'digits of this device',
  'control-plane-import-key': 'digits of this device',
  'pool-export-key': 'names of this device',
  'pool-import-key': 'names of this device',
  'pool-move': 'names of this device, and digits',
}

/** Answers the job of `mesh inference`: text, then a failure, in the worst words. */
const failJob = async (agent: FakeAgent): Promise<void> => {
  const { jobId, epoch } = await agent.next('job-assign')
  agent.send({ type: 'job-started', jobId, epoch, promptTokens: 1 })
  agent.send({ type: 'job-tokens', jobId, epoch, firstIndex: 0, tokens: [1], text: `so\tit\nbegan ${steering}` })
  agent.send({
    type: 'job-failed',
    jobId,
    epoch,
    error: {
      code: 'peerLost',
      message: steering,
      hint: steering,
      fields: { peer: hostileName + steering, rank: 1, problem: steering, [steering]: steering },
    },
  })
}

it('every command is shown here, or said why not', () => {
  assert.deepEqual(Object.keys(shown).toSorted(), commands.map(({ name }) => name).toSorted())
})

for (const json of [false, true]) {
  it(`no command${json ? ' with --json' : ''} passes on what steers a terminal`, { timeout: 300_000 }, async () => {
    for (const [name, more] of Object.entries(shown)) {
      if (typeof more === 'string') continue
      for (const isTTY of [true, false]) {
        const answered = name === 'inference' ? failJob(scene.agent) : undefined
        const { stdout, stderr } = await run(scene.home, [name, ...more(), ...(json ? ['--json'] : [])], isTTY)
        await answered
        const what = `mesh ${name}${json ? ' --json' : ''} ${isTTY ? 'in a terminal' : 'in a pipe'}`
        assertHarmless(stderr, what)
        const isAnswer = name === 'inference' && !json
        if (isTTY || !isAnswer) assertHarmless(stdout, what, { isAnswer })
        else assert.ok(stdout.includes(`began ${steering}`), 'what the model wrote goes into a pipe as it is')
        assert.ok((stderr.match(/^error: /gm) ?? []).length <= 1, `${what}: ${stderr}`)
      }
    }
  })
}

it('a member that failed in its own words is shown in one line', async () => {
  const { agent, home } = scene
  await works(home, 'ring-status')
  const {
    ring: { ringId, epoch },
  } = await next(agent)
  agent.send({
    type: 'ring-state',
    ringId,
    epoch,
    state: 'failed',
    progress: 0,
    error: { code: `internal${steering}`, message: steering, hint: steering, fields: {} },
  })
  for (const args of [['ring-status'], ['pool-status'], ['ring-status', '--json'], ['pool-status', '--json']]) {
    for (const isTTY of [true, false]) {
      const { stdout, code } = await run(home, args, isTTY)
      assert.equal(code, 0)
      assertHarmless(stdout, args.join(' '))
    }
  }
})

/** The member leaves and comes back: an epoch that is not ready yet. */
const next = async (agent: FakeAgent): Promise<Awaited<ReturnType<typeof agent.next<'ring-epoch'>>>> => {
  const { evil, url, poolId } = scene
  const params = { poolId }
  await evil.client(url).call('leaveRing', { params, body: { modelId: manifest.modelId } })
  await evil.client(url).call('joinRing', { params, body: { model: manifest, quant: 'q8', share: 1 } })
  return agent.next('ring-epoch')
}

it('names that steer, that cannot be seen, or in which nothing can be seen are refused where they are given', async () => {
  const { home, url, poolId, evil } = scene
  const bad = [
    '\u009b2J',
    'a\u202eb',
    'a\u200bb',
    'a\u0000',
    'a\nb',
    'a\u2028b',
    '\u00ad',
    ' ',
    '\u3164',
    '\u2800\u00a0',
    '\u0301',
    'a\ud800',
    '\u{e0041}a',
    '',
    'x'.repeat(101),
  ]
  for (const name of bad) {
    assert.ok(!Value.Check(GivenName, name), JSON.stringify(name))
    if (name !== '')
      for (const args of [
        ['init', '--network-id', 'home', '--name', name],
        ['pool-create', '--name', name],
        ['api-key-create', '--name', name],
      ]) {
        const { code, stderr } = await run(home, args, true)
        assert.equal(code, 2, JSON.stringify(name))
        assertHarmless(stderr, args.join(' '))
      }
    const device = new TestDevice(name)
    await assert.rejects(device.register(url), { code: 'requestInvalid' }, JSON.stringify(name))
    await assert.rejects(createKey(evil, { poolId }, url, { name }), { code: 'requestInvalid' }, JSON.stringify(name))
  }
  for (const name of ['Ünï', 'Laptop of Ana', '日本', '🦊', 'हिन्दी', 'עברית', 'a b', '-', 'naïve café'])
    assert.ok(Value.Check(GivenName, name), name)
  const agent = await FakeAgent.connect(file as never, evil, url)
  for (const hello of [{ version: '1\u001b' }, { peerId: '\u202e' }, { addresses: ['/ip4/1.2.3.4/\u009b'] }]) {
    agent.send({ type: 'hello', version: '1', peerId: 'p', addresses: [], certificates: [], ...hello })
    assert.equal((await agent.next('error')).error.code, 'requestInvalid')
  }
})
