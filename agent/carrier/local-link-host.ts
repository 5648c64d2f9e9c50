/** Sockets in the agent's own process: for backends that compute in a thread of it. */
import type { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { RingLink } from '../../shared/schema/ring.ts'
import { type AdjustableCollective, type CollectiveSettings, createCollective } from '../collective/chooser.ts'
import { probeLinks } from '../collective/link-probe.ts'
import type { Engine } from '../engine/engine.ts'
import { createForward, type ForwardOptions } from '../engine/forward.ts'
import type { LinkPlan } from '../sockets/link-plan.ts'
import { SocketEnds } from '../sockets/socket-ends.ts'
import type { LinkCertificate } from '../sockets/tls-sockets.ts'
import type { LinkHost } from './link-host.ts'

export class LocalLinkHost implements LinkHost {
  readonly #options: Omit<ForwardOptions, 'collective'>
  readonly #ends = new SocketEnds()
  #linked: { readonly collective: AdjustableCollective; readonly engine: Engine } | undefined

  constructor(options: Omit<ForwardOptions, 'collective'>) {
    this.#options = options
  }

  listen(certificate: LinkCertificate, host: string): Promise<number> {
    return this.#ends.listen(certificate, host)
  }

  async connect(plan: LinkPlan): Promise<void> {
    await this.#ends.connect(plan)
    const { channel } = this.#ends
    const collective = createCollective(channel)
    this.#linked = { collective, engine: { ...createForward({ ...this.#options, collective }), forget: (job) => channel.forgetJob(job) } }
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
