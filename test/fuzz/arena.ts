/** A control plane on real sockets with everybody who may call it, for requests and messages that chance makes. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import WebSocket from 'ws'
import { defaultAdmission } from '../../control-plane/service/admission.ts'
import { createServices } from '../../control-plane/service/services.ts'
import { openDatabase } from '../../control-plane/store/database.ts'
import { buildApp } from '../../control-plane/app.ts'
import {
  createKey,
  eventually,
  createPool,
  manifest,
  quickSettings,
  submission,
  TestDevice,
  type TestPool,
  timings,
} from '../../control-plane/test/plane.ts'
import type { RouteName } from '../../shared/api/routes.ts'
import type { AgentMessage, ControlMessage } from '../../shared/api/messages.ts'
import { controlPlaneFolder } from '../../shared/home.ts'
import { newApiKey } from '../../shared/identity/api-key.ts'
import type { ControlPlaneId } from '../../shared/ids.ts'
import { signPin } from '../../shared/identity/control-plane-pin.ts'
import { ownControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { newKeyPair, toHex } from '../../shared/identity/keys.ts'
import { signCommitment } from '../../shared/identity/lock-statement.ts'
import { signRevocations } from '../../shared/identity/revocation-list.ts'
import { issueCertificate, poolIdOf } from '../../shared/identity/pool-certificate.ts'
import { signStatement } from '../../shared/identity/statement.ts'
import type { Job } from '../../shared/schema/job.ts'
import { createLogger } from '../../shared/log.ts'

/** More than all cases together cost: what budgets refuse would never be tried. */
const unlimited = { most: 1e12, perSecond: 1e12 }

/** Who sends a request: a device with what it shows, or an app. */
export type Sender = { readonly device: TestDevice; readonly certificate?: string } | { readonly key: string }

export interface Arena {
  readonly url: string
  readonly pool: TestPool
  readonly member: TestDevice
  readonly senders: Readonly<Record<string, Sender>>
  /** What fills the holes of a path so that it leads somewhere. */
  readonly params: Readonly<Record<string, readonly string[]>>
  /** Bodies that are taken, beside those that the schemas make: signed ones cannot be guessed. */
  readonly bodies: Partial<Record<RouteName, unknown>>
  /** Brings about what a request of the route speaks of, where an earlier one ended it. */
  readonly prepare: Partial<Record<RouteName, () => Promise<unknown>>>
  /** Key of the control plane. */
  readonly controlPlaneId: ControlPlaneId
  /** Ids and statements of what is there. */
  readonly words: readonly string[]
  /** Throws what the control plane wrote to its log as an error since the last call. */
  checkLog(): void
  stop(): Promise<void>
}

/** What a test needs of a context, where there is none. */
const contextOf = (cleanups: (() => unknown)[]): TestContext =>
  ({ after: (act: () => unknown) => void cleanups.push(act) }) as unknown as TestContext

const startServer = async (
  folder: string,
  cleanups: (() => unknown)[],
): Promise<{ readonly url: string; readonly controlPlaneId: ControlPlaneId; readonly errors: string[] }> => {
  const errors: string[] = []
  const logger = createLogger('fuzz', 'error', { write: (line) => void errors.push(line) })
  const database = openDatabase(join(folder, 'mesh.sqlite'))
  const admission = { ...defaultAdmission, address: unlimited, member: unlimited, newcomers: unlimited }
  const key = ownControlPlaneKey(controlPlaneFolder(folder).key)
  const services = createServices(
    database,
    { ...quickSettings, leaseMs: 3600e3, admission },
    { now: Date.now, logger, key },
  )
  const app = await buildApp(services, logger)
  await app.listen({ host: '127.0.0.1', port: 0 })
  cleanups.push(async () => {
    services.stop()
    await app.close()
    database.close()
  })
  const address = app.server.address()
  if (address === null || typeof address === 'string') throw new Error('the control plane listens nowhere')
  return { url: `http://127.0.0.1:${address.port}`, controlPlaneId: key.id, errors }
}

/** An agent that answers every job at once, so that there are jobs of all states. */
const serveJobs = async (device: TestDevice, url: string): Promise<WebSocket> => {
  const { url: address, headers } = await device.client(url).socket()
  const socket = new WebSocket(address, { headers })
  const send = (message: AgentMessage): void => socket.send(JSON.stringify(message))
  socket.on('open', () =>
    send({
      type: 'hello',
      version: '0',
      peerId: 'peer',
      addresses: ['/ip4/127.0.0.1/tcp/1'],
      certificates: [...device.certificates.values()],
    }),
  )
  socket.on('message', (data: Buffer) => {
    const message = JSON.parse(data.toString()) as ControlMessage
    if (message.type === 'ring-epoch')
      send({ type: 'ring-state', ringId: message.ring.ringId, epoch: message.ring.epoch, state: 'ready', progress: 1 })
    if (message.type !== 'job-assign') return
    const { jobId, epoch } = message
    send({ type: 'job-tokens', jobId, epoch, firstIndex: 0, tokens: [1], text: 'a' })
    send({
      type: 'job-done',
      jobId,
      epoch,
      text: 'a',
      tokens: [1],
      finishReason: 'stop',
      usage: { promptTokens: 1, completionTokens: 1, totalTokens: 2 },
      timings,
    })
  })
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.once('open', () => resolve(socket))
  })
}

const sendersOf = async (
  pool: TestPool,
  other: TestPool,
  member: TestDevice,
  url: string,
): Promise<Record<string, Sender>> => {
  const stranger = new TestDevice('Stranger')
  await stranger.register(url)
  const certificate = (device: TestDevice, { poolId }: TestPool): string | undefined => device.certificates.get(poolId)
  return {
    nobody: { key: '' },
    unregistered: { device: new TestDevice('Unregistered'), certificate: certificate(pool.admin, pool) },
    stranger: { device: stranger },
    adminOfOther: { device: other.admin, certificate: certificate(other.admin, other) },
    member: { device: member, certificate: certificate(member, pool) },
    admin: { device: pool.admin, certificate: certificate(pool.admin, pool) },
    app: { key: (await createKey(member, pool, url)).text },
    appOfOther: { key: (await createKey(other.admin, other, url)).text },
    wrongKey: { key: newApiKey().text },
  }
}

const finishedJob = async (device: TestDevice, { poolId }: TestPool, url: string, jobId: string): Promise<Job> => {
  const client = device.client(url)
  await eventually(
    'the first job is done',
    async () => (await client.call('getJob', { params: { poolId, jobId } })).state === 'done',
  )
  return client.call('getJob', { params: { poolId, jobId } })
}

/** A ring that may come and go; the one of the model `tiny` stays. */
const spareRing = { model: { ...manifest, modelId: 'spare' }, quant: 'q8', share: 1 } as const

interface Signed {
  readonly pool: TestPool
  readonly stranger: Sender
  readonly guests: readonly TestDevice[]
  readonly member: TestDevice
  readonly finished: Job
  readonly controlPlaneId: ControlPlaneId
}

const bodiesFor = ({
  pool,
  stranger,
  guests: [denied, admitted],
  member,
  finished,
  controlPlaneId,
}: Signed): Arena['bodies'] => {
  if (!('device' in stranger)) throw new Error('a stranger is a device')
  const root = newKeyPair()
  return {
    publishPin: { pin: signPin(pool.root, { after: 0, controlPlaneId }, Date.now()) },
    createPool: {
      poolId: poolIdOf(root.publicKey),
      networkId: 'home',
      name: 'new',
      rootPublicKey: toHex(root.publicKey),
      certificate: issueCertificate(root, { deviceId: stranger.device.deviceId, role: 'admin' }, Date.now()),
    },
    requestJoin: { rootPublicKey: pool.rootPublicKey },
    denyJoin: { deviceId: denied.deviceId, error: { code: 'joinDenied', message: 'no' } },
    publishCertificate: {
      certificate: issueCertificate(pool.root, { deviceId: admitted.deviceId, role: 'member' }, Date.now()),
    },
    publishRevocations: { list: signRevocations(pool.root, { after: 1, removed: ['0'.repeat(64)] }, Date.now()) },
    joinRing: spareRing,
    leaveRing: { modelId: 'spare' },
    removeRing: { modelId: 'spare' },
    submitJob: submission('fuzzed'),
    recordLock: {
      statement: signCommitment(stranger.device.key, {
        sequence: 2,
        phase: 'locked',
        memoryBytes: 1e9,
        cooldownMs: 1000,
        at: Date.now(),
      }),
    },
    confirmUse: signStatement(member.key, pool.poolId, {
      kind: 'use',
      jobId: finished.jobId,
      epoch: finished.epoch,
      weights: 0,
      tokens: finished.usage?.totalTokens ?? 0,
      computeUs: 0,
    }),
  }
}

export const openArena = async (): Promise<Arena> => {
  const cleanups: (() => unknown)[] = []
  const context = contextOf(cleanups)
  const folder = mkdtempSync(join(tmpdir(), 'mesh-fuzz-'))
  context.after(() => rmSync(folder, { recursive: true, force: true }))
  const { url, controlPlaneId, errors } = await startServer(folder, cleanups)
  const [pool, other] = [await createPool(url), await createPool(url)]
  const { poolId } = pool
  const member = await pool.member('Member')
  const agent = await serveJobs(pool.admin, url)
  context.after(() => agent.terminate())
  const admin = pool.admin.client(url)
  const { ringId } = await admin.call('joinRing', {
    params: { poolId },
    body: { model: manifest, quant: 'q8', share: 1 },
  })
  const { jobId } = await member.client(url).call('submitJob', { params: { poolId }, body: submission('first') })
  const spare = await Promise.all(Array.from({ length: 20 }, () => createKey(member, pool, url)))
  const finished = await finishedJob(member, pool, url, jobId)
  const guests = [new TestDevice('Guest'), new TestDevice('Guest')]
  for (const guest of guests) {
    await guest.register(url)
    await guest.client(url).call('requestJoin', { params: { poolId }, body: { rootPublicKey: pool.rootPublicKey } })
  }
  const senders = await sendersOf(pool, other, member, url)
  const joinSpare = (): Promise<unknown> => member.client(url).call('joinRing', { params: { poolId }, body: spareRing })
  const commitment = { sequence: 1, phase: 'locked', memoryBytes: 1e9, cooldownMs: 1000, at: Date.now() } as const
  const words = [
    poolId,
    other.poolId,
    ringId,
    jobId,
    member.deviceId,
    pool.admin.deviceId,
    pool.rootPublicKey,
    'spare',
    manifest.revision,
    submission('first').idempotencyKey,
    ...member.certificates.values(),
    ...pool.admin.certificates.values(),
    ...spare.map(({ keyId }) => keyId),
    signCommitment(member.key, commitment),
    signCommitment(pool.admin.key, commitment),
    signRevocations(pool.root, { after: 0, removed: ['0'.repeat(64)] }, Date.now()),
  ]
  return {
    url,
    pool,
    member,
    words,
    senders,
    params: { poolId: [poolId], jobId: [jobId], keyId: spare.map(({ keyId }) => keyId) },
    prepare: { leaveRing: joinSpare, removeRing: joinSpare },
    controlPlaneId,
    bodies: bodiesFor({ pool, stranger: senders.stranger, guests, member, finished, controlPlaneId }),
    checkLog: () => {
      if (errors.length > 0) throw new Error(`the control plane wrote: ${errors.splice(0).join('')}`)
    },
    stop: async () => {
      for (const act of cleanups.toReversed()) await act()
    },
  }
}
