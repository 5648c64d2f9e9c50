/**
 * Which control plane the agent talks to: the one it was given while that answers, else one that worked before, else
 * one that members of its pools use now.
 */
import type { Client } from '../../shared/api/client.ts'
import { routes } from '../../shared/api/routes.ts'
import type { Logger } from '../../shared/log.ts'

export interface ControlPlaneFinderOptions {
  /** The address of `mesh init` or `--control-plane`. */
  readonly given: string
  readonly logger: Logger
  readonly fetch: typeof fetch
  connect(url: string): Client
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
    const { given, remembered, ask, logger, connect } = this.#options
    const url = (await this.#firstAnswering([given])) ?? (await this.#firstAnswering([...(await ask()), ...remembered()])) ?? given
    if (url === this.#client.url) return
    logger.info({ url, given }, `turning to the control plane at ${url}`)
    this.#client = connect(url)
  }

  /** The first of the list among those that answer. */
  async #firstAnswering(urls: readonly string[]): Promise<string | undefined> {
    const answers = await Promise.all([...new Set(urls)].map(async (url) => {
      try {
        const { ok } = await this.#options.fetch(url + routes.health.path, { signal: AbortSignal.timeout(probeMs) })
        return ok ? url : undefined
      } catch {
        return undefined
      }
    }))
    return answers.find((url) => url !== undefined)
  }
}
