/** Mesh programs that live and end together: when a service ends by itself, whoever waits for the group is told. */
import { type ManagedProcess, type ManagedProcessOptions, startProcess } from './managed-process.ts'
import { processEnded, untilReady } from './until-ready.ts'

/** Milliseconds that a program may need to start on a busy machine. */
const startMs = 20_000

export class ChildGroup {
  readonly #services: ManagedProcess[] = []
  /** One-shot commands that run now: they end with the rest. */
  readonly #commands = new Set<ManagedProcess>()
  readonly #failed = Promise.withResolvers<never>()
  #stopping = false

  constructor(signal: AbortSignal) {
    this.#failed.promise.catch(() => undefined)
    signal.addEventListener('abort', () => this.#failed.reject(signal.reason), { once: true })
  }

  /** Rejects when a service ends by itself or the signal aborts; never resolves. */
  get failure(): Promise<never> {
    return this.#failed.promise
  }

  /** Starts what runs until the group is stopped. @returns its ready line; @throws MeshError `processEnded` */
  async service(options: ManagedProcessOptions): Promise<Record<string, unknown>> {
    const service = startProcess(options)
    this.#services.push(service)
    void service.ended.then(({ how }) => {
      if (!this.#stopping) this.#failed.reject(processEnded(service, how))
    })
    return await Promise.race([untilReady(service, startMs), this.failure])
  }

  /** Runs a command of `mesh` to its end. @returns what it printed; @throws MeshError `processEnded` */
  async command(home: string, args: readonly string[]): Promise<string> {
    const process = startProcess({ name: `mesh ${args[0]}`, program: 'mesh', args, home })
    this.#commands.add(process)
    try {
      const { code, how } = await Promise.race([process.ended, this.failure])
      if (code !== 0) throw processEnded(process, how)
      return process.stdout()
    } finally {
      if (!process.running) this.#commands.delete(process)
    }
  }

  /** Last lines of every service that ended by itself. */
  wreckage(): { readonly name: string; readonly lines: string[] }[] {
    return this.#services
      .filter((service) => !service.running)
      .map((service) => ({ name: service.name, lines: service.tail() }))
  }

  /** Ends every process. @param isFirst services that go before those which they use */
  async stop(isFirst: (name: string) => boolean): Promise<void> {
    this.#stopping = true
    const first = this.#services.filter(({ name }) => isFirst(name))
    const others = this.#services.filter((service) => !first.includes(service))
    await Promise.all([...first, ...this.#commands].map((process) => process.stop()))
    await Promise.all(others.map((service) => service.stop()))
  }
}
