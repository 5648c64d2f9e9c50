/** `--json` of every command: what is really printed fits the schema in `docs/json`, answers and failures alike. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Compile, type Validator } from 'typebox/schema'
import { allCommands } from '../agent/cli/commands.ts'
import { bundledFolder } from '../agent/cli/ring-join.ts'
import { startLocalHub } from '../agent/library/test/local-hub.ts'
import { findDevice } from '../agent/device/device.ts'
import { openHome } from '../shared/home.ts'
import { temporaryFolder } from './support/homes.ts'
import { eventually, meshHere, runMesh, type RunResult, startReady } from './support/processes.ts'

const commands = await allCommands()

const folder = fileURLToPath(new URL('../docs/json', import.meta.url))

const schemaOf = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(folder, `${name}.schema.json`), 'utf8')) as Record<string, unknown>

const validators = new Map<string, Validator>()

const fits = (name: string, value: unknown): void => {
  const validator = validators.get(name) ?? Compile(schemaOf(name))
  validators.set(name, validator)
  assert.ok(
    validator.Check(value),
    `mesh ${name} --json: ` +
      `${JSON.stringify(validator.Errors(value)[1])}\n${JSON.stringify(value, null, 2).slice(0, 3000)}`,
  )
}

const run = (home: string, argv: readonly string[]): Promise<RunResult> => meshHere([...argv, '--json'], home)

/** Printed keys of all objects, and names that a schema gives to them. */
const keysIn = (value: unknown): string[] =>
  typeof value === 'object' && value !== null
    ? [...(Array.isArray(value) ? [] : Object.keys(value)), ...Object.values(value).flatMap(keysIn)]
    : []
const propertiesIn = (schema: unknown): string[] =>
  typeof schema === 'object' && schema !== null
    ? Object.entries(schema).flatMap(([key, value]) => [
        ...(key === 'properties' ? Object.keys(value as object) : []),
        ...propertiesIn(value),
      ])
    : []

const failure = ({ code, stdout, stderr }: RunResult): { code: string; message: string; hint: string } => {
  assert.notEqual(code, 0)
  const answer = JSON.parse(stdout) as { error: { code: string; message: string; hint: string } }
  fits('error', answer)
  // for people the same, on stderr
  assert.ok(stderr.endsWith(`error: ${answer.error.message}\nhint: ${answer.error.hint}\n`), stderr)
  return answer.error
}

class Walk {
  readonly seen = new Set<string>()

  /** @returns the checked answer of a command that must work */
  async json<T>(home: string, ...argv: string[]): Promise<T> {
    const { code, stdout, stderr } = await run(home, argv)
    assert.equal(code, 0, `mesh ${argv.join(' ')}: ${stderr}`)
    return this.check<T>(argv[0], JSON.parse(stdout))
  }

  check<T>(name: string, value: unknown): T {
    fits(name, value)
    for (const key of keysIn(value)) assert.match(key, /^[a-z0-9_]+$/, `mesh ${name} --json`)
    this.seen.add(name)
    return value as T
  }

  /** Starts a service and checks its ready line. */
  async service(t: TestContext, home: string, ...args: string[]): Promise<Record<string, unknown>> {
    const { info } = await startReady(t, {
      name: args[0],
      program: 'mesh',
      args: [...args, '--json'],
      home,
      stopMs: 20_000,
    })
    return this.check(args[0], info)
  }

  /** Runs a program of its own to its end. */
  async program(home: string, ...args: string[]): Promise<void> {
    const { code, stdout, stderr } = await runMesh([...args, '--json'], { home, timeoutMs: 240_000 })
    assert.equal(code, 0, `mesh ${args.join(' ')}: ${stderr}`)
    this.check(args[0], JSON.parse(stdout))
  }
}

interface Ring {
  readonly status: string
  readonly world_size: number
}

/** Reads of a device in a pool whose ring has run a prompt. */
const reads = [
  'status',
  'pool-list',
  'pool-peers',
  'pool-status',
  'ring-status',
  'shard-status',
  'shards',
  'resource-status',
  'credits',
  'quota',
  'ledger',
  'ledger-verify',
  'api-key-list',
]

/** Two devices that serve a model, and all that the commands tell of them. */
const serve = async (
  t: TestContext,
  walk: Walk,
  { a, b }: { readonly a: string; readonly b: string },
): Promise<void> => {
  await walk.service(t, a, 'up', '--name', 'Desktop', '--port', '0', '--relay-port', '0', '--threads', '1')
  const { invite } = await walk.json<{ invite: string }>(a, 'pool-invite', '--uses', '3')
  await walk.service(t, b, 'join', invite, '--name', 'Laptop', '--listen', '/ip4/127.0.0.1/tcp/0', '--threads', '1')
  for (const home of [a, b]) await walk.json(home, 'join-ring', '--model-id', 'tiny-story')
  await eventually(40_000, 'the ring is active with both', async () => {
    const [ring] = await walk.json<Ring[]>(a, 'ring-status')
    return (ring?.status === 'active' && ring.world_size === 2) || undefined
  })
  await walk.json(b, 'inference', '--prompt', 'Once upon a time', '--max-tokens', '4', '--seed', '7')
  await walk.json(b, 'api-key-create', '--name', 'app', '--quota', '100')
  for (const name of reads) for (const home of [a, b]) await walk.json(home, name)
  const [{ key_id: keyId }] = await walk.json<{ key_id: string }[]>(b, 'api-key-list')
  await walk.json(b, 'api-key-revoke', keyId)
  await walk.json(a, 'logs')
  await walk.json(b, 'leave-ring', '--model-id', 'tiny-story')
  await walk.json(a, 'ring-remove', '--model-id', 'tiny-story')
}

/** Devices that ask, come in and go; keys that travel; memory that is locked. */
const administer = async (
  t: TestContext,
  walk: Walk,
  root: string,
  { a, b }: { readonly a: string; readonly b: string },
): Promise<void> => {
  const [{ pool_id: poolId, root_public_key: rootKey }] = await walk.json<
    { pool_id: string; root_public_key: string }[]
  >(a, 'pool-list')
  const {
    control_plane: { url },
  } = await walk.json<{ control_plane: { url: string } }>(a, 'status')
  for (const answer of ['pool-deny', 'pool-approve']) {
    const home = join(root, answer)
    await walk.json(home, 'init', '--network-id', 'home', '--name', answer, '--control-plane', url)
    const ask = ['pool-join', '--pool-id', poolId.slice(0, 8), '--pool-root-pubkey', rootKey, '--wait', '0s']
    assert.equal(failure(await run(home, ask)).code, 'joinPending')
    const [{ device_id: deviceId }] = await walk.json<{ device_id: string }[]>(a, 'pool-requests')
    await walk.json(a, answer, '--device', deviceId)
    if (answer === 'pool-deny') continue
    await walk.json(home, ...ask)
    await walk.service(t, home, 'start', '--listen', '/ip4/127.0.0.1/tcp/0', '--threads', '1')
    await walk.json(home, 'down')
    await walk.json(a, 'pool-remove', '--device', deviceId)
  }
  const [file, passphrase] = [join(root, 'pool.key'), join(root, 'passphrase')]
  writeFileSync(passphrase, 'correct horse battery staple\n')
  await walk.json(a, 'pool-export-key', '--file', file, '--passphrase-file', passphrase)
  const { pool_id: second } = await walk.json<{ pool_id: string }>(b, 'pool-create', '--name', 'second')
  await walk.json(
    b,
    'pool-move',
    '--pool-id',
    second,
    '--control-plane',
    String(findDevice(openHome(b))?.config.controlPlaneUrl),
    '--yes',
  )
  await walk.json(join(root, 'pool-deny'), 'pool-import-key', '--file', file, '--passphrase-file', passphrase)
  await walk.json(b, 'lock-resources', '--memory', '50MB', '--cooldown', '1s')
  await walk.json(b, 'unlock-resources')
  await walk.json(b, 'resource-status')
}

/** What needs nobody else. */
const alone = async (t: TestContext, walk: Walk, root: string): Promise<void> => {
  const home = join(root, 'services')
  await walk.json(home, 'init', '--network-id', 'home', '--name', 'services')
  await walk.json(home, 'model-add', join(bundledFolder, 'tiny-story'), '--name', 'owner/story')
  await walk.json(home, 'model-list')
  await walk.json(home, 'model-show', 'owner/story')
  await walk.json(home, 'model-plan', 'owner/story', '--devices', 'Anna=2GB,Ben=1GB')
  await walk.json(home, 'model-remove', 'owner/story')
  const content = readdirSync(join(bundledFolder, 'tiny-story'))
    .filter((name) => /[.](json|safetensors)$/.test(name))
    .map((name): [string, Buffer] => [name, readFileSync(join(bundledFolder, 'tiny-story', name))])
  const hub = await startLocalHub('owner/tale', new Map(content))
  t.after(() => hub.close())
  await walk.json(home, 'model-pull', 'owner/tale', '--hub', hub.url)
  await walk.json(home, 'service-install', '--print')
  await walk.json(home, 'service-remove')
  const { url, control_plane_key: key } = await walk.service(t, home, 'control-plane', '--port', '0')
  assert.deepEqual(await walk.json(home, 'control-plane-key'), { control_plane_key: key, is_own: true })
  const [file, passphrase] = [join(root, 'control-plane.key'), join(root, 'passphrase')]
  await walk.json(home, 'control-plane-export-key', '--file', file, '--passphrase-file', passphrase)
  const moved = await walk.json<Record<string, unknown>>(
    home,
    'control-plane-import-key',
    '--file',
    file,
    '--passphrase-file',
    passphrase,
    '--data',
    join(root, 'moved'),
  )
  assert.deepEqual(
    [
      moved.control_plane_key,
      (await walk.json<Record<string, unknown>>(home, 'control-plane-key', '--data', join(root, 'moved')))
        .control_plane_key,
    ],
    [key, key],
  )
  const inUse = await run(home, ['control-plane-import-key', '--file', file, '--passphrase-file', passphrase])
  assert.equal(failure(inUse).code, 'folderInUse')
  await walk.service(t, home, 'relay', '--port', '0')
  const taken = await runMesh(
    ['control-plane', '--port', new URL(String(url)).port, '--data', join(root, 'elsewhere'), '--json'],
    { home },
  )
  assert.equal(failure(taken).code, 'portInUse')
  await walk.program(
    home,
    'bench',
    '--shape',
    'tiny',
    '--workers',
    '1',
    '--prompt-tokens',
    '4',
    '--tokens',
    '3',
    '--runs',
    '1',
    '--contexts',
    '8',
    '--sequences',
    '1',
  )
  await walk.program(home, 'bench', '--collectives', '--workers', '2', '--runs', '1', '--collective', 'direct')
  await walk.program(home, 'demo', '--workers', '1', '--max-tokens', '4')
}

describe('--json', () => {
  it('every command prints what its schema says', { timeout: 300_000 }, async (t) => {
    const root = temporaryFolder(t)
    const homes = { a: join(root, 'a'), b: join(root, 'b') }
    const walk = new Walk()
    await serve(t, walk, homes)
    await administer(t, walk, root, homes)
    await alone(t, walk, root)
    assert.deepEqual(
      commands.map(({ name }) => name).filter((name) => !walk.seen.has(name)),
      [],
      'commands that this test does not run yet: add them',
    )
  })

  it('the schemas: one for each command, all names in snake_case', () => {
    const files = readdirSync(folder)
      .filter((file) => file.endsWith('.schema.json'))
      .map((file) => file.replace('.schema.json', ''))
    assert.deepEqual(files.toSorted(), [...commands.map(({ name }) => name), 'error'].toSorted())
    for (const name of files)
      for (const property of propertiesIn(schemaOf(name))) assert.match(property, /^[a-z0-9_]+$/, name)
  })

  it('every command that fails prints one object that says why, and the same for people', async (t) => {
    const home = join(temporaryFolder(t), 'nothing')
    for (const { name, service } of commands) {
      assert.equal(failure(await run(home, [name, '--no-such-option'])).code, 'usage', name)
      if (service || ['demo', 'init', 'down', 'logs', 'model-list', 'service-remove'].includes(name)) continue // these need no device
      const { code } = failure(await run(home, [name]))
      assert.ok(
        ['usage', 'notInitialised', 'noPool', 'promptEmpty', 'controlPlaneKeyMissing'].includes(code),
        `${name}: ${code}`,
      )
    }
  })
})
