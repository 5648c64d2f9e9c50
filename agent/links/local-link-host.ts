/**
 * Sockets in the process where the layers run: the compute process of ggml, or the agent itself for backends that
 * compute in a thread of it.
 */
import type { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { RingLink } from '../../shared/schema/ring.ts'
import { type AdjustableCollective, type CollectiveSettings, createCollective } from '../collective/chooser.ts'
import { probeLinks } from './link-probe.ts'
import type { Engine } from '../engine/engine.ts'
import { createForward, type ForwardOptions } from '../engine/forward.ts'
import type { LinkPlan } from '../channel/sockets/link-plan.ts'
import { SocketEnds } from '../channel/sockets/socket-ends.ts'
import type { LinkCertificate } from '../channel/sockets/tls-sockets.ts'
import type { LinkHost } from './link-host.ts'

export interface LocalLinkHostOptions extends Omit<ForwardOptions, 'collective'> {
  /** How long a channel looks for the next frame before it sleeps. */
  readonly spinMs?: number
}

export class LocalLinkHost implements LinkHost {
  readonly #options: LocalLinkHostOptions
  readonly #ends: SocketEnds
  #linked: { readonly collective: AdjustableCollective; readonly engine: Engine } | undefined

  constructor(options: LocalLinkHostOptions) {
    this.#options = options
    this.#ends = new SocketEnds(options.spinMs)
  }

  listen(certificate: LinkCertificate, host: string): Promise<number> {
    return this.#ends.listen(certificate, host)
  }

  async connect(plan: LinkPlan): Promise<void> {
    await this.#ends.connect(plan)
    const { channel } = this.#ends
    const collective = createCollective(channel)
    const forward = createForward({ ...this.#options, collective })
    this.#linked = { collective, engine: { ...forward, forget: (job) => this.forget(job) } }
  }

  probe(logger: Logger): Promise<RingLink[]> {
    return probeLinks(this.#ends.channel, { logger, pathTo: () => 'direct' })
  }

  get engine(): Engine {
    if (!this.#linked) throw new Error('no links are open')
    return this.#linked.engine
  }

  use(settings: CollectiveSettings): void {
    this.#linked?.collective.use(settings)
  }

  /** Drops frames of a job that is over. */
  forget(job: number): void {
    if (this.#ends.isOpen) this.#ends.channel.forgetJob(job)
  }

  break(error: MeshError): void {
    if (this.#ends.isOpen) this.#ends.channel.break(error)
  }

  get bytesSent(): number {
    return this.#ends.isOpen ? this.#ends.channel.bytesSent : 0
  }

  close(): Promise<void> {
    return this.#ends.close()
  }
}
