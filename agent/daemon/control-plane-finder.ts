/**
 * Where the control plane is: at the address that the agent was given while it answers there, else where it was before,
 * else where members of its pools reach theirs. It is known by its key; at the address that was given, where no key is
 * known yet, whoever answers is the one.
 */
import type { Client } from '../../shared/api/client.ts'
import { controlPlaneAt } from '../../shared/api/contact.ts'
import type { ControlPlaneId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'

export interface ControlPlaneFinderOptions {
  /** The address of `mesh init` or `--control-plane`. */
  readonly given: string
  readonly logger: Logger
  readonly fetch: typeof fetch
  connect(url: string): Client
  /** Key of the control plane; `undefined` before it was met. */
  key(): ControlPlaneId | undefined
  /** Others that worked before. */
  remembered(): readonly string[]
  /** Asks the members that are connected now. */
  ask(): Promise<readonly string[]>
}

/** Milliseconds that a control plane has to say that it is there: it is near, or the next one is tried. */
const probeMs = 2000

export class ControlPlaneFinder {
  readonly #options: ControlPlaneFinderOptions
  #client: Client

  constructor(options: ControlPlaneFinderOptions) {
    this.#options = options
    this.#client = options.connect(options.given)
  }

  get client(): Client {
    return this.#client
  }

  get given(): string {
    return this.#options.given
  }

  /** Turns to one that answers; where none does, to the one that was given. */
  async find(): Promise<void> {
    const { given, remembered, ask, logger, connect, key } = this.#options
    const others = async (): Promise<string[]> => (key() === undefined ? [] : [...(await ask()), ...remembered()])
    const url = (await this.#firstAnswering([given])) ?? (await this.#firstAnswering(await others())) ?? given
    if (url === this.#client.url) return
    logger.info({ url, given }, `turning to the control plane at ${url}`)
    this.#client = connect(url)
  }

  /** The first of the list among those where the control plane answers. */
  async #firstAnswering(urls: readonly string[]): Promise<string | undefined> {
    const answers = await Promise.all([...new Set(urls)].map(async (url) => {
      try {
        const { fetch: send, key } = this.#options
        const got = await controlPlaneAt(url, { fetch: send, signal: AbortSignal.timeout(probeMs) })
        return got === (key() ?? got) ? url : undefined
      } catch {
        return undefined
      }
    }))
    return answers.find((url) => url !== undefined)
  }
}
