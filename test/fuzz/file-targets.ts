/**
 * Readers of files: those that a home holds, written by the product itself and then damaged, and those of a model,
 * which come from anybody.
 */
import fc from 'fast-check'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { findService } from '../../agent/cli/service-record.ts'
import { ComputeUnits } from '../../agent/device/compute-units.ts'
import { findDevice, saveDevice } from '../../agent/device/device.ts'
import { makeInvite, takeInvite } from '../../agent/device/invites.ts'
import { PeerCache, readKnownPeers } from '../../agent/device/known-peers.ts'
import { changeLock, loadLock, saveCountdown } from '../../agent/device/lock-store.ts'
import { MessageStore } from '../../agent/device/message-store.ts'
import { createPool, listPools } from '../../agent/device/pools.ts'
import { lock, unlock } from '../../agent/device/resource-lock.ts'
import { Revocations } from '../../agent/device/revocations.ts'
import { loadRingIntents, saveRingIntent, unreadableIntents } from '../../agent/device/rings.ts'
import { readClock } from '../../agent/device/elapsed.ts'
import { readLibrary, saveEntry } from '../../agent/library/library.ts'
import { readConfig } from '../../agent/model/config.ts'
import { openGguf } from '../../agent/model/gguf/gguf.ts'
import { tokenizerMetadata } from '../../agent/model/gguf/test/tokenizer-metadata.ts'
import { writeGguf } from '../../agent/model/gguf/write-gguf.ts'
import { readHashes, writeHashes } from '../../agent/model/hash-store.ts'
import { openSource } from '../../agent/model/model-source.ts'
import { writeRandomModel } from '../../agent/model/random-model.ts'
import { openTensors } from '../../agent/model/safetensors.ts'
import { listShards } from '../../agent/model/shard-store.ts'
import { loadTokenizer } from '../../agent/model/tokenizer.ts'
import { families } from '../../agent/model/tokenizer/test/families.ts'
import { readSettings, writeSettings } from '../../relay-server/settings.ts'
import { ServedPools } from '../../relay-server/served-pools.ts'
import { isFolder } from '../../shared/lenient-files.ts'
import { openHome } from '../../shared/home.ts'
import { loadControlPlaneKey, ownControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { signRevocations } from '../../shared/identity/revocation-list.ts'
import { silentLogger } from '../../shared/log.ts'
import { damage, damagedBytes } from './edits.ts'
import { outcomeOf } from './refusal.ts'
import { anyTarget, type Target } from './run-cases.ts'

/** A file as the product wrote it, and who reads it. */
interface FileReader {
  readonly name: string
  readonly file: string
  read(): unknown
  /** Writes the JSON in the file's own form, where the file is not JSON alone. */
  encode?(json: unknown): Uint8Array
  readonly json?: unknown
}

const jsonIn = (bytes: Buffer): unknown => {
  try {
    return JSON.parse(bytes.toString()) as unknown
  } catch {
    return undefined
  }
}

const target = ({
  name,
  file,
  read,
  encode = (json) => Buffer.from(JSON.stringify(json) ?? ''),
  json,
}: FileReader): Target => {
  const whole = readFileSync(file)
  const content = json ?? jsonIn(whole)
  const bytes = damagedBytes(fc.constant(whole))
  const cases =
    content === undefined
      ? bytes
      : fc.oneof(
          { weight: 3, arbitrary: damage(fc.constant(content)).map((value) => Buffer.from(encode(value))) },
          { weight: 1, arbitrary: bytes },
        )
  return anyTarget({
    name: `file ${name}`,
    cases,
    run: async (damaged) => {
      writeFileSync(file, damaged)
      try {
        return await outcomeOf(read)
      } finally {
        writeFileSync(file, whole)
      }
    },
  })
}

const onlyIn = (folder: string): string => join(folder, readdirSync(folder)[0])

const homeReaders = (root: string): FileReader[] => {
  const home = openHome(join(root, 'home'))
  const device = saveDevice(home, { networkId: 'home', name: 'Laptop', controlPlaneUrl: 'http://127.0.0.1:8080' })
  const now = Date.now()
  const pool = createPool(home, device.deviceId, 'friends', now)
  const files = home.pool(pool.poolId)
  makeInvite(home, pool, { role: 'member', uses: 1, notAfter: now + 3600e3, urls: [] })
  const revocations = new Revocations(home, () => now)
  if (pool.rootKey === undefined) throw new Error('a pool that was made here has its key')
  const list = signRevocations(pool.rootKey, { after: 1, removed: ['0'.repeat(64)] }, now)
  revocations.accept(pool.poolId, list)
  saveRingIntent(home, { poolId: pool.poolId, modelId: 'tiny', quant: 'q4', share: 1, revision: 'a'.repeat(64) })
  const cache = new PeerCache(home)
  cache.saw({
    poolId: pool.poolId,
    deviceId: device.deviceId,
    address: '/ip4/127.0.0.1/tcp/1',
    found: 'mdns',
    latencyMs: 1,
    dialable: '/ip4/127.0.0.1/tcp/1',
    at: now,
  })
  cache.rememberControlPlane('http://127.0.0.1:8080')
  cache.save()
  const planeKey = join(root, 'control-plane.key')
  ownControlPlaneKey(planeKey)
  const logger = silentLogger()
  const answers = new MessageStore(home.outbox.answers, logger)
  answers.save({ type: 'job-failed', jobId: 'job_1', epoch: 1, error: { code: 'usage', message: 'x' } })
  changeLock(home, device, (before) => lock(before, { memoryBytes: 1e9, cooldownMs: 3600e3 }, readClock()))
  const { after } = changeLock(home, device, (before) => unlock(before, readClock()))
  if (after !== undefined) saveCountdown(home, after)
  const lockFile = readdirSync(home.locks.folder).toSorted()[0]
  mkdirSync(dirname(home.service), { recursive: true })
  writeFileSync(
    home.service,
    JSON.stringify({ pid: process.pid, mark: 'x', command: 'start', background: true, startedAt: now, info: {} }),
  )
  writeSettings(
    home.relay.config,
    { host: '0.0.0.0', port: 4001, announce: [], maxReservations: 10, servedPools: [pool.poolId] },
    [],
  )
  mkdirSync(home.relay.lists, { recursive: true })
  const kept = join(home.relay.lists, `${pool.poolId}.json`)
  writeFileSync(kept, JSON.stringify({ rootPublicKey: pool.rootPublicKey, list }))
  return [
    { name: 'device.json', file: home.config, read: () => findDevice(home) },
    { name: 'device.key', file: home.deviceKey, read: () => findDevice(home) },
    { name: 'pool.json', file: files.config, read: () => listPools(home) },
    { name: 'membership.cert', file: files.certificate, read: () => listPools(home) },
    { name: 'pool-root.key', file: files.rootKey, read: () => listPools(home) },
    { name: 'revocations', file: files.revocations, read: () => new Revocations(home, () => now).listOf(pool.poolId) },
    { name: 'control-plane.key', file: planeKey, read: () => loadControlPlaneKey(planeKey) },
    {
      name: 'an invite',
      file: onlyIn(files.invites),
      read: () =>
        takeInvite(
          home,
          pool.poolId,
          { inviteId: '0'.repeat(16), proof: '0'.repeat(64) },
          { deviceId: device.deviceId, now },
        ),
    },
    { name: 'rings.json', file: home.rings, read: () => [loadRingIntents(home), unreadableIntents(home)] },
    {
      name: 'peers.json',
      file: home.knownPeers,
      read: () => [new PeerCache(home).peersOf(pool.poolId), readKnownPeers(home)],
    },
    { name: 'a message that waits', file: onlyIn(home.outbox.answers), read: () => answers.load() },
    { name: 'a memory lock', file: join(home.locks.folder, lockFile), read: () => loadLock(home, device) },
    { name: 'countdown.json', file: home.locks.countdown, read: () => loadLock(home, device) },
    { name: 'service.json', file: home.service, read: () => findService(home) },
    { name: 'relay.json', file: home.relay.config, read: () => readSettings(home.relay.config) },
    {
      name: 'a list at a relay',
      file: kept,
      read: () => new ServedPools({ pools: [pool.poolId], folder: home.relay.lists, now: () => now }),
    },
  ]
}

const headerOf = (file: Buffer): unknown =>
  JSON.parse(file.subarray(8, 8 + Number(file.readBigUInt64LE(0))).toString()) as unknown

const modelReaders = (root: string): FileReader[] => {
  const folder = join(root, 'model')
  writeRandomModel(folder, {
    shape: { layers: 1, hidden: 32, heads: 2, kvHeads: 1, headDim: 16, ffn: 32, vocab: 32, context: 64 },
    tied: true,
    dtype: 'F32',
    seed: 1,
  })
  writeFileSync(join(folder, 'generation_config.json'), JSON.stringify({ eos_token_id: [1, 2], bos_token_id: 0 }))
  const weights = join(folder, 'model.safetensors')
  const bytes = readFileSync(weights)
  const data = bytes.subarray(8 + Number(bytes.readBigUInt64LE(0)))
  const withHeader = (json: unknown): Uint8Array => {
    const header = Buffer.from(JSON.stringify(json) ?? '')
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(header.length))
    return Buffer.concat([length, header, data])
  }
  const open = (): void => openTensors(folder).close()
  const parted = join(root, 'parted')
  writeRandomModel(parted, {
    shape: { layers: 1, hidden: 32, heads: 2, kvHeads: 1, headDim: 16, ffn: 32, vocab: 32, context: 64 },
    tied: true,
    dtype: 'F32',
    seed: 1,
    files: 2,
  })
  const hashes = join(root, 'hashes')
  const { tensors, files } = openTensors(folder)
  writeHashes(hashes, {
    tensors: [...tensors.values()],
    digests: new Map([...tensors.keys()].map((name) => [name, new Uint8Array(32)])),
    files,
    startedAt: Date.now() + 3600e3,
  })
  return [
    {
      name: 'config.json',
      file: join(folder, 'config.json'),
      read: () => {
        readConfig(folder)
        openSource(folder).close()
      },
    },
    { name: 'generation_config.json', file: join(folder, 'generation_config.json'), read: () => readConfig(folder) },
    { name: 'model.safetensors', file: weights, read: open, encode: withHeader, json: headerOf(bytes) },
    {
      name: 'model.safetensors.index.json',
      file: join(parted, 'model.safetensors.index.json'),
      read: () => openTensors(parted).close(),
    },
    { name: 'hashes of weights', file: onlyIn(hashes), read: () => [readHashes(hashes, [...tensors.values()], files)] },
  ]
}

const tokenizerReaders = (root: string): FileReader[] =>
  Object.entries(families).flatMap(([name, family]) => {
    const folder = join(root, name.replaceAll(/\W/g, '-'))
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(family))
    writeFileSync(
      join(folder, 'tokenizer_config.json'),
      JSON.stringify({
        bos_token: '<s>',
        eos_token: '</s>',
        chat_template: '{% for m in messages %}{{ m.content }}{% endfor %}',
      }),
    )
    const read = (): void => {
      const tokenizer = loadTokenizer(folder)
      tokenizer.encode('Once upon a time', { special: false, mostTokens: 64 })
    }
    return [
      { name: `tokenizer.json of ${name}`, file: join(folder, 'tokenizer.json'), read },
      ...(name === 'llama-2'
        ? [{ name: 'tokenizer_config.json', file: join(folder, 'tokenizer_config.json'), read }]
        : []),
    ]
  })

const ggufReaders = (root: string): FileReader[] => {
  const [file] = writeGguf(join(root, 'model.gguf'), {
    metadata: {
      'general.architecture': { type: 'string', value: 'llama' },
      ...tokenizerMetadata(families['qwen-2'], 'gpt2', 'qwen2'),
    },
    tensors: [{ name: 'token_embd.weight', dims: [4, 32], type: 'Q8_0', bytes: () => new Uint8Array(136) }],
  })
  return [
    { name: 'model.gguf', file, read: () => openGguf(file).close() },
    { name: 'tokenizer of model.gguf', file, read: () => loadTokenizer(file).encode('Once upon a time') },
  ]
}

/** A shard as it is listed: index, last use, and a use that a process claims. */
const shardReaders = (root: string): FileReader[] => {
  const shards = join(root, 'shards')
  const folder = join(shards, 'b'.repeat(64))
  mkdirSync(folder, { recursive: true })
  const about = {
    modelId: 'tiny',
    revision: 'a'.repeat(64),
    quant: 'q4',
    ranges: Object.fromEntries(['kvHeads', 'heads', 'ffn', 'vocab'].map((part) => [part, { start: 0, end: 1 }])),
  }
  const index = join(folder, 'index.json')
  writeFileSync(index, JSON.stringify({ about, bytes: 1, sha256: '0'.repeat(64), tensors: [] }))
  if (statSync(index).size === 0) throw new Error('nothing was written')
  return [{ name: 'index.json of a shard', file: index, read: () => listShards(shards) }]
}

/** A model that this device knows by name. */
const libraryReaders = (root: string): FileReader[] => {
  const home = openHome(join(root, 'library'))
  saveEntry(home, {
    name: 'owner/tale',
    path: join(root, 'tale.gguf'),
    format: 'gguf',
    weightBytes: 1,
    addedAt: 1,
    source: {
      hub: 'https://hub.example',
      repo: 'owner/tale',
      revision: 'main',
      commit: 'c'.repeat(40),
      files: [{ path: 'tale.gguf', bytes: 1, hash: `sha256:${'0'.repeat(64)}` }],
    },
  })
  return [{ name: 'a model of the library', file: onlyIn(home.library), read: () => readLibrary(home) }]
}

/** A unit of another process of this user, as anybody who may write to that folder has it. */
const unitReaders = (root: string): FileReader[] => {
  const folder = join(root, 'units')
  const units = new ComputeUnits(folder)
  units.add({ pid: process.pid, agent: process.pid, wanted: 1, cpus: [0], groups: ['/a'] })
  return [{ name: 'a compute unit', file: onlyIn(folder), read: () => units.list() }]
}

export interface FileTargets {
  readonly targets: readonly Target[]
  remove(): void
}

export const openFileTargets = (): FileTargets => {
  // in memory where there is such a place: each case writes twice
  const root = mkdtempSync(join(isFolder('/dev/shm') ? '/dev/shm' : tmpdir(), 'mesh-fuzz-'))
  return {
    targets: [
      ...homeReaders(root),
      ...modelReaders(root),
      ...tokenizerReaders(root),
      ...ggufReaders(root),
      ...shardReaders(root),
      ...libraryReaders(root),
      ...unitReaders(root),
    ].map(target),
    remove: () => rmSync(root, { recursive: true, force: true }),
  }
}
