/** The processes of the demo: a relay, a control plane and agents on free loopback ports, each with its own home. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Home, openHome } from '../../shared/home.ts'
import { ChildGroup } from './child-group.ts'
import type { ProgramName } from './programs.ts'
import { counted } from './render.ts'

export interface ClusterOptions {
  readonly agents: number
  /** Arguments of `mesh join-ring` on every agent. */
  readonly joinRing: readonly string[]
  readonly signal: AbortSignal
  /** Called when a step is done. */
  onStep(what: string, text: string): void
}

/** Quick to notice what is gone, and on a port that nobody else can reach. */
const relayArguments = ['--host', '127.0.0.1', '--port', '0', '--json']
const controlPlaneArguments = [...relayArguments, '--lease', '3s', '--heartbeat', '1s', '--ring-grace', '0']

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
  readonly #children: ChildGroup
  readonly #indices: readonly number[]

  constructor(options: ClusterOptions) {
    this.#options = options
    this.folder = mkdtempSync(join(tmpdir(), 'mesh-demo-'))
    this.#children = new ChildGroup(options.signal)
    this.#indices = Array.from({ length: options.agents }, (_, index) => index + 1)
  }

  /** Rejects when a service ends by itself or the signal aborts; never resolves. */
  get failure(): Promise<never> {
    return this.#children.failure
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
    return this.#children.wreckage()
  }

  /** Starts everything and forms the pool. @returns the id of the pool */
  async start(): Promise<string> {
    const { relayAddress, controlPlaneKey } = await this.#startHosts()
    const poolId = await this.#makePool(controlPlaneKey)
    await this.#startAgents(relayAddress)
    await this.#joinAll()
    return poolId
  }

  /** Ends every process, agents first, and removes the folder unless `keep`. */
  async stop(keep: boolean): Promise<void> {
    await this.#children.stop((name) => name.startsWith('agent'))
    if (!keep) rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 })
  }

  /** What all use. */
  async #startHosts(): Promise<{ readonly relayAddress: string; readonly controlPlaneKey: string }> {
    const [relay, control] = await Promise.all([
      this.#service('relay', 'relay', relayArguments),
      this.#service('control plane', 'controlPlane', controlPlaneArguments),
    ])
    const relayAddress = text(relay, 'addresses', 'the relay')
    this.controlPlaneUrl = text(control, 'url', 'the control plane')
    this.#options.onStep('relay', relayAddress.replace(/\/p2p\/.*/, ''))
    this.#options.onStep('control plane', this.controlPlaneUrl)
    return { relayAddress, controlPlaneKey: text(control, 'control_plane_key', 'the control plane') }
  }

  /** Every device, and the pool of the first one. @returns its id */
  async #makePool(controlPlaneKey: string): Promise<string> {
    const plane = ['--control-plane', this.controlPlaneUrl, '--control-plane-key', controlPlaneKey]
    await Promise.all(
      this.#indices.map((index) =>
        this.#command(index, ['init', '--network-id', 'demo', '--name', `worker ${index}`, ...plane]),
      ),
    )
    const made = JSON.parse(await this.#command(1, ['pool-create', '--name', 'demo', '--json'])) as { pool_id: string }
    return made.pool_id
  }

  async #startAgents(relayAddress: string): Promise<void> {
    const where = ['--listen', '/ip4/127.0.0.1/tcp/0', '--relay', relayAddress]
    await Promise.all(
      this.#indices.map((index) =>
        this.#service(`agent ${index}`, 'mesh', ['start', '--json', '--log-level', 'info', ...where]),
      ),
    )
    this.#options.onStep('agents', `${this.#indices.length} running`)
  }

  /** Lets the others in; all serve the model. */
  async #joinAll(): Promise<void> {
    const count = this.#indices.length
    const terms = ['--uses', String(count), '--expires', '10m', '--control-plane', this.controlPlaneUrl, '--json']
    const { invite } = JSON.parse(await this.#command(1, ['pool-invite', ...terms])) as { invite: string }
    await Promise.all(
      this.#indices.map(async (index) => {
        if (index > 1) await this.#command(index, ['pool-join', '--invite', invite, '--wait', '15s'])
        await this.#command(index, ['join-ring', ...this.#options.joinRing])
      }),
    )
    this.#options.onStep('pool', `demo, ${counted(count, 'member')}`)
  }

  #service(name: string, program: ProgramName, args: readonly string[]): Promise<Record<string, unknown>> {
    return this.#children.service({ name, program, args, home: this.home(name.replace(' ', '-')).root })
  }

  #command(index: number, args: readonly string[]): Promise<string> {
    return this.#children.command(this.agentHome(index).root, args)
  }
}
