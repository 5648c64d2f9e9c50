/** The processes of the demo: a relay, a control plane and agents on free loopback ports, each with its own home. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MeshError } from '../../shared/errors.ts'
import { type Home, openHome } from '../../shared/home.ts'
import { lastWords, type ManagedProcess, startProcess } from './managed-process.ts'
import { untilReady } from './until-ready.ts'

export interface ClusterOptions {
  readonly agents: number
  /** Arguments of `mesh join-ring` on every agent. */
  readonly joinRing: readonly string[]
  readonly signal: AbortSignal
  /** Called when a step is done. */
  onStep(what: string, text: string): void
}

/** Milliseconds that a program may need to start on a busy machine. */
const startMs = 20_000

/** `value`, or the failure of a service, or the interruption: whichever comes first. */
const before = <T>(value: Promise<T>, ...others: Promise<never>[]): Promise<T> => Promise.race([value, ...others])

const text = (ready: Record<string, unknown>, field: string, name: string): string => {
  const value = ready[field]
  const first: unknown = Array.isArray(value) ? value[0] : value
  if (typeof first !== 'string') throw new Error(`the ready line of ${name} has no ${field}`)
  return first
}

export class DemoCluster {
  readonly folder: string
  controlPlaneUrl = ''
  readonly #options: ClusterOptions
  readonly #services: ManagedProcess[] = []
  /** One-shot commands that run now: they end with the rest. */
  readonly #commands = new Set<ManagedProcess>()
  readonly #failed = Promise.withResolvers<never>()
  #stopping = false

  constructor(options: ClusterOptions) {
    this.#options = options
    this.folder = mkdtempSync(join(tmpdir(), 'mesh-demo-'))
    this.#failed.promise.catch(() => undefined)
    options.signal.addEventListener('abort', () => this.#failed.reject(options.signal.reason), { once: true })
  }

  /** Rejects when a service ends by itself or the signal aborts; never resolves. */
  get failure(): Promise<never> {
    return this.#failed.promise
  }

  home(name: string): Home {
    return openHome(join(this.folder, name))
  }

  /** The home of agent `index`, counted from 1. */
  agentHome(index: number): Home {
    return this.home(`agent-${index}`)
  }

  /** Last lines of every service that ended by itself. */
  wreckage(): { readonly name: string; readonly lines: string[] }[] {
    return this.#services
      .filter((service) => !service.running)
      .map((service) => ({ name: service.name, lines: service.tail() }))
  }

  async #startService(
    name: string,
    program: 'mesh' | 'controlPlane' | 'relay',
    args: readonly string[],
  ): Promise<Record<string, unknown>> {
    const service = startProcess({ name, program, args, home: this.home(name.replace(' ', '-')).root })
    this.#services.push(service)
    void service.ended.then(({ how }) => {
      if (!this.#stopping)
        this.#failed.reject(new MeshError('processEnded', { name, how, problem: lastWords(service.tail()) }))
    })
    return before(untilReady(service, startMs), this.failure)
  }

  /** Runs a command of `mesh` to its end. @returns what it printed; @throws MeshError `processEnded` */
  async #command(index: number, ...args: string[]): Promise<string> {
    const process = startProcess({ name: `mesh ${args[0]}`, program: 'mesh', args, home: this.agentHome(index).root })
    this.#commands.add(process)
    try {
      const { code, how } = await before(process.ended, this.failure)
      if (code !== 0)
        throw new MeshError('processEnded', { name: process.name, how, problem: lastWords(process.tail()) })
      return process.stdout()
    } finally {
      if (!process.running) this.#commands.delete(process)
    }
  }

  /** Starts everything and forms the pool. @returns the id of the pool */
  async start(): Promise<string> {
    const { onStep } = this.#options
    const indices = Array.from({ length: this.#options.agents }, (_, index) => index + 1)
    const [relay, control] = await Promise.all([
      this.#startService('relay', 'relay', ['--host', '127.0.0.1', '--port', '0', '--json']),
      this.#startService('control plane', 'controlPlane', [
        '--host',
        '127.0.0.1',
        '--port',
        '0',
        '--lease',
        '3s',
        '--heartbeat',
        '1s',
        '--ring-grace',
        '0',
        '--json',
      ]),
    ])
    const relayAddress = text(relay, 'addresses', 'the relay')
    this.controlPlaneUrl = text(control, 'url', 'the control plane')
    const own = [
      '--control-plane',
      this.controlPlaneUrl,
      '--control-plane-key',
      text(control, 'control_plane_key', 'the control plane'),
    ]
    onStep('relay', relayAddress.replace(/\/p2p\/.*/, ''))
    onStep('control plane', this.controlPlaneUrl)

    await Promise.all(
      indices.map((index) => this.#command(index, 'init', '--network-id', 'demo', '--name', `worker ${index}`, ...own)),
    )
    const pool = JSON.parse(await this.#command(1, 'pool-create', '--name', 'demo', '--json')) as { pool_id: string }
    await Promise.all(
      indices.map((index) =>
        this.#startService(`agent ${index}`, 'mesh', [
          'start',
          '--json',
          '--log-level',
          'info',
          '--listen',
          '/ip4/127.0.0.1/tcp/0',
          '--relay',
          relayAddress,
        ]),
      ),
    )
    onStep('agents', `${indices.length} running`)
    const { invite } = JSON.parse(
      await this.#command(
        1,
        'pool-invite',
        '--uses',
        String(indices.length),
        '--expires',
        '10m',
        '--control-plane',
        this.controlPlaneUrl,
        '--json',
      ),
    ) as { invite: string }
    await Promise.all(
      indices.map(async (index) => {
        if (index > 1) await this.#command(index, 'pool-join', '--invite', invite, '--wait', '15s')
        await this.#command(index, 'join-ring', ...this.#options.joinRing)
      }),
    )
    onStep('pool', `demo, ${indices.length} ${indices.length === 1 ? 'member' : 'members'}`)
    return pool.pool_id
  }

  /** Ends every process, agents first, and removes the folder unless `keep`. */
  async stop(keep: boolean): Promise<void> {
    this.#stopping = true
    const agents = this.#services.filter((service) => service.name.startsWith('agent'))
    const others = this.#services.filter((service) => !agents.includes(service))
    await Promise.all([...agents, ...this.#commands].map((process) => process.stop()))
    await Promise.all(others.map((service) => service.stop()))
    if (!keep) rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 })
  }
}
