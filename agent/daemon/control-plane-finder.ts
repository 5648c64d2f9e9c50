/**
 * Where the control plane is: at an address that the agent was given while it answers there, else where members of its
 * pools reach theirs, or where it was before. It is known by its key; at an address that was given, where no key is
 * known yet, whoever answers is the one.
 */
import type { Client } from '../../shared/api/client.ts'
import { controlPlaneAt } from '../../shared/api/contact.ts'
import { secureUrl } from '../../shared/control-plane-url.ts'
import { problemOf } from '../../shared/errors.ts'
import { type ControlPlaneId, shortId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import type { AnnouncedPlanes, Announcement } from './announced-planes.ts'

export interface ControlPlaneFinderOptions {
  /** Addresses of `--control-plane` and `mesh init`, as they are now; the first is the one to wait for. */
  given(): readonly string[]
  readonly logger: Logger
  readonly fetch: typeof fetch
  connect(url: string): Client
  /** Key of the control plane; `undefined` before it was met. */
  key(): ControlPlaneId | undefined
  /** Others that worked before. */
  remembered(): readonly string[]
  /** Asks the members that are connected now. */
  ask(): Promise<readonly Announcement[]>
  readonly announced: Pick<AnnouncedPlanes, 'find'>
}

/** Milliseconds that a control plane has to say that it is there: it is near, or the next one is tried. */
const probeMs = 2000

export class ControlPlaneFinder {
  readonly #options: ControlPlaneFinderOptions
  #client: Client
  /** What was said last of whoever answers in its place. */
  #said = ''

  constructor(options: ControlPlaneFinderOptions) {
    this.#options = options
    this.#client = options.connect(options.given()[0])
  }

  get client(): Client {
    return this.#client
  }

  isGiven(url: string): boolean {
    return this.#options.given().includes(url)
  }

  /** Turns to one that answers; where none does, to the one that was given. */
  async find(): Promise<void> {
    const { logger, connect, key, given } = this.#options
    const url = (await this.#whereGiven()) ?? (await this.#elsewhere()) ?? given()[0]
    if (url === this.#client.url && key() === this.#client.controlPlaneKey) return
    if (url !== this.#client.url) logger.info({ url, given: given() }, `turning to the control plane at ${url}`)
    this.#client = connect(url)
  }

  /** The first of the addresses that were given where the control plane answers. */
  async #whereGiven(): Promise<string | undefined> {
    const { given, key, fetch: send } = this.#options
    const answers = await Promise.all(
      [...new Set(given())].map(async (url) => {
        try {
          const [got, wanted] = [
            await controlPlaneAt(url, { fetch: send, signal: AbortSignal.timeout(probeMs) }),
            key(),
          ]
          if (wanted === undefined || got === wanted) return url
          this.#say(
            `the control plane at ${url} has the key ${shortId(got)}, ` +
              `and the pools of this device are served by that with the key ${shortId(wanted)}: ` +
              'looking for it among the members',
          )
        } catch (error) {
          this.#options.logger.debug({ url, problem: problemOf(error) }, 'no control plane where one was given')
        }
        return undefined
      }),
    )
    return answers.find((url) => url !== undefined)
  }

  /** Where members are, or this device was, it proves its key or is not spoken to. */
  async #elsewhere(): Promise<string | undefined> {
    const { key, ask, remembered, announced } = this.#options
    const wanted = key()
    return wanted && announced.find(wanted, await ask(), remembered().map(secureUrl))
  }

  /** Once, not with every attempt. */
  #say(text: string): void {
    if (text !== this.#said) this.#options.logger.warn(text)
    this.#said = text
  }
}
