/** A control plane on a real SQLite file, and agents that speak its real protocol, for tests. */
import assert from 'node:assert/strict'
import { on, once } from 'node:events'
import type { Server } from 'node:http'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import WebSocket from 'ws'
import { type Client, createClient } from '../../shared/api/client.ts'
import type { AgentMessage, ControlMessage } from '../../shared/api/messages.ts'
import { controlPlaneFolder } from '../../shared/home.ts'
import { newApiKey } from '../../shared/identity/api-key.ts'
import { ownControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { type RequestParts, signRequest } from '../../shared/identity/request-signature.ts'
import type { ControlPlaneId } from '../../shared/ids.ts'
import { deviceIdOf } from '../../shared/identity/device-key.ts'
import { type KeyPair, newKeyPair, toHex } from '../../shared/identity/keys.ts'
import { issueCertificate, poolIdOf } from '../../shared/identity/pool-certificate.ts'
import { silentLogger } from '../../shared/log.ts'
import type { ApiKeyCreation } from '../../shared/schema/api-key.ts'
import type { JobSubmission } from '../../shared/schema/job.ts'
import type { ModelManifest } from '../../shared/schema/model.ts'
import { buildApp } from '../app.ts'
import type { SharedPortOptions } from '../tls/shared-port.ts'
import { TlsIdentities } from '../tls/tls-identities.ts'
import { createServices, type Services, type Settings } from '../service/services.ts'
import { openDatabase } from '../store/database.ts'

export interface Plane {
  readonly url: string
  readonly key: ControlPlaneId
  readonly folder: string
  readonly server: Server
  readonly services: Services
  stop(): Promise<void>
}

/** Keys of the control planes that were started, by address. */
const keys = new Map<string, ControlPlaneId>()

/** Headers that sign a request for the control plane at that address. */
export const signFor = (url: string, key: KeyPair, parts: RequestParts, now: number): Record<string, string> => {
  const recipient = keys.get(url)
  assert.ok(recipient, `no control plane was started at ${url}`)
  return signRequest(key, { ...parts, recipient }, now)
}

export const quickSettings: Settings = { heartbeatMs: 200, leaseMs: 2000, ringGraceMs: 150 }

export interface PlaneSettings extends Settings {
  /** TLS on its port; absent: plain HTTP for everybody. */
  readonly port?: Omit<SharedPortOptions, 'identities'>
}

export const startPlane = async (
  t: TestContext,
  folder?: string,
  settings: PlaneSettings = quickSettings,
  now: () => number = Date.now,
): Promise<Plane> => {
  const { port } = settings
  const place = folder ?? mkdtempSync(join(tmpdir(), 'mesh-plane-'))
  if (folder === undefined) t.after(() => rmSync(place, { recursive: true, force: true }))
  const database = openDatabase(join(place, 'mesh.sqlite'))
  const key = ownControlPlaneKey(controlPlaneFolder(place).key)
  const services = createServices(database, settings, { now, logger: silentLogger(), key })
  const identities =
    port &&
    (await TlsIdentities.open({
      key,
      file: controlPlaneFolder(place).certificate,
      names: () => ['127.0.0.1'],
      logger: silentLogger(),
      now,
    }))
  const app = await buildApp(services, silentLogger(), identities && { ...port, identities })
  await app.listen({ host: '127.0.0.1', port: 0 })
  let stopped = false
  const stop = async (): Promise<void> => {
    if (stopped) return
    stopped = true
    services.stop()
    await app.close()
    database.close()
  }
  t.after(stop)
  const address = app.server.address()
  assert.ok(address !== null && typeof address === 'object')
  const url = `http://127.0.0.1:${address.port}`
  keys.set(url, key.id)
  return { url, key: key.id, folder: place, server: app.server, services, stop }
}

/** A device with certificates, and the client it would use. */
export class TestDevice {
  readonly key: KeyPair = newKeyPair()
  readonly deviceId = deviceIdOf(this.key)
  readonly name: string
  readonly certificates = new Map<string, string>()

  constructor(name: string) {
    this.name = name
  }

  /** @param controlPlaneKey absent: whoever answers */
  client(url: string, controlPlaneKey?: ControlPlaneId): Client {
    return createClient({
      url,
      controlPlaneKey,
      key: this.key,
      certificateOf: (poolId) => this.certificates.get(poolId),
    })
  }

  async register(url: string): Promise<void> {
    await this.client(url).call('registerDevice', {
      body: {
        networkId: 'home',
        name: this.name,
        capabilities: { cpuCores: 2, memoryBytes: 8e9, platform: 'linux', arch: 'x64', backends: ['onnx'] },
      },
    })
  }
}

/** An API key that the device makes, and the client of an app that has it. */
export const createKey = async (
  device: TestDevice,
  { poolId }: Pick<TestPool, 'poolId'>,
  url: string,
  change: Partial<ApiKeyCreation> = {},
): Promise<{ text: string; keyId: string; app: Client }> => {
  const { text, keyId, hash } = newApiKey()
  await device
    .client(url)
    .call('createKey', { params: { poolId }, body: { keyId, hash, name: 'app', lifetimeMs: 3600e3, ...change } })
  return { text, keyId, app: createClient({ url, apiKey: text }) }
}

export interface TestPool {
  readonly root: KeyPair
  readonly poolId: string
  readonly rootPublicKey: string
  readonly admin: TestDevice
  /** A registered member. */
  member(name: string): Promise<TestDevice>
}

/** @param charter of the pool, signed by the root key that the function is given */
export const createPool = async (url: string, charter?: (root: KeyPair) => string): Promise<TestPool> => {
  const root = newKeyPair()
  const poolId = poolIdOf(root.publicKey)
  const rootPublicKey = toHex(root.publicKey)
  const admin = new TestDevice('Admin')
  await admin.register(url)
  const certificate = issueCertificate(root, { deviceId: admin.deviceId, role: 'admin' }, Date.now())
  admin.certificates.set(poolId, certificate)
  await admin.client(url).call('createPool', {
    body: {
      poolId,
      networkId: 'home',
      name: 'friends',
      rootPublicKey,
      certificate,
      ...(charter ? { charter: charter(root) } : {}),
    },
  })
  return {
    root,
    poolId,
    rootPublicKey,
    admin,
    member: async (name) => {
      const device = new TestDevice(name)
      await device.register(url)
      const text = issueCertificate(root, { deviceId: device.deviceId, role: 'member' }, Date.now())
      device.certificates.set(poolId, text)
      await admin.client(url).call('publishCertificate', { params: { poolId }, body: { certificate: text } })
      return device
    },
  }
}

/** What a quiet machine does in much less than a second; a busy one may take long, and that is no failure. */
const patienceMs = 60_000

/** Looks again until it is true. */
export const eventually = async (what: string, look: () => Promise<boolean>, timeoutMs = patienceMs): Promise<void> => {
  const deadline = Date.now() + timeoutMs
  while (!(await look())) {
    assert.ok(Date.now() < deadline, `not within ${timeoutMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5)) // or a look that waits for nothing would let nothing happen
  }
}

/** The agent of a device: a real WebSocket, messages kept until somebody asks for them. */
export class FakeAgent {
  readonly device: TestDevice
  readonly #socket: WebSocket
  readonly #received: ControlMessage[] = []
  /** A busy machine takes its time for a test: without a word of it the lease would end. */
  readonly #alive = setInterval(() => this.#ping('alive'), 250).unref()
  #asked = 0
  #wake: () => void = () => {}

  private constructor(device: TestDevice, socket: WebSocket) {
    this.device = device
    this.#socket = socket
    socket.on('close', () => clearInterval(this.#alive))
    socket.on('message', (data) => {
      this.#received.push(JSON.parse(String(data)) as ControlMessage)
      this.#wake()
    })
  }

  /** @param about its port, or that it shows whether it can load before anybody waits for it */
  static async connect(
    t: TestContext,
    device: TestDevice,
    url: string,
    about: number | { readonly trials: true } = 1,
  ): Promise<FakeAgent> {
    const { port, trials } =
      typeof about === 'number' ? { port: about, trials: undefined } : { port: 1, trials: about.trials }
    const { url: address, ...plan } = await device.client(url).socket()
    const socket = new WebSocket(address, plan)
    t.after(() => socket.terminate())
    await once(socket, 'open')
    const agent = new FakeAgent(device, socket)
    agent.send({
      type: 'hello',
      version: '0',
      peerId: `peer-${device.name}`,
      addresses: [`/ip4/127.0.0.1/tcp/${port}`],
      certificates: [...device.certificates.values()],
      ...(trials ? { trials } : {}),
    })
    await agent.next('welcome')
    return agent
  }

  send(message: AgentMessage): void {
    this.#socket.send(JSON.stringify(message))
  }

  sendText(text: string): void {
    this.#socket.send(text)
  }

  /** The next message of that type; others before it are dropped. */
  async next<Type extends ControlMessage['type']>(
    type: Type,
    timeoutMs = patienceMs,
  ): Promise<Extract<ControlMessage, { type: Type }>> {
    const deadline = Date.now() + timeoutMs
    for (;;) {
      const message = this.#received.shift()
      if (message?.type === type) return message as Extract<ControlMessage, { type: Type }>
      if (message !== undefined) continue
      if (Date.now() >= deadline) throw new Error(`no ${type} within ${timeoutMs} ms`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, deadline - Date.now())
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  ready(ringId: string, epoch: number): void {
    this.send({ type: 'ring-state', ringId, epoch, state: 'ready', progress: 1 })
  }

  /** What came so far and nobody asked for; resolves when everything sent before this call was handled. */
  async unread(): Promise<ControlMessage[]> {
    const question = String(++this.#asked)
    this.#ping(question)
    for await (const [answer] of on(this.#socket, 'pong', { close: ['close'] })) if (String(answer) === question) break
    return this.#received.splice(0)
  }

  /** Says nothing of itself any more: its lease ends. */
  fallSilent(): void {
    clearInterval(this.#alive)
  }

  /** Behaves like a machine that is gone: reads nothing, answers nothing. */
  freeze(): void {
    this.fallSilent()
    this.#socket.pause()
  }

  get closed(): Promise<unknown> {
    return this.#socket.readyState === WebSocket.CLOSED ? Promise.resolve() : once(this.#socket, 'close')
  }

  kill(): void {
    this.#socket.terminate()
  }

  #ping(text: string): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.ping(text)
  }
}

export const manifest: ModelManifest = {
  modelId: 'tiny',
  revision: 'a'.repeat(64),
  weightBytes: 1000,
  shape: { layers: 2, hidden: 64, heads: 8, kvHeads: 4, headDim: 8, ffn: 704, vocab: 2048, context: 2048 },
}

export const submission = (key: string, change: Partial<JobSubmission> = {}): JobSubmission => ({
  modelId: 'tiny',
  prompt: 'hello',
  maxTokens: 5,
  stop: [],
  idempotencyKey: `key-${key}-12345`,
  sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 },
  ...change,
})

export const timings = {
  queuedMs: 0,
  timeToFirstTokenMs: 1,
  prefillMs: 1,
  decodeMs: 1,
  prefillTokensPerSecond: 1,
  decodeTokensPerSecond: 1,
  computeMs: 1,
  collectiveMs: 1,
}
