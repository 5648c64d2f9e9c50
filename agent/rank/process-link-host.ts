/** Sockets in the compute process: between the halves of a layer no other process is woken on this device. */
import { MeshError } from '../../shared/errors.ts'
import type { RingLink } from '../../shared/schema/ring.ts'
import { type CollectiveSettings, defaultSettings } from '../collective/chooser.ts'
import type { Engine } from '../engine/engine.ts'
import { type ForwardOptions, planStep, rowLogits } from '../engine/forward.ts'
import type { HostedBackend } from '../compute/hosted-backend.ts'
import { decodeSeen, type LinkedStep, type LinkedStepResult, linkRequests } from '../links/link-requests.ts'
import type { LinkPlan } from '../channel/sockets/link-plan.ts'
import type { LinkCertificate } from '../channel/sockets/tls-sockets.ts'
import type { LinkHost } from '../links/link-host.ts'

export interface ProcessLinkHostOptions extends Pick<ForwardOptions, 'shape' | 'ranges' | 'embed'> {
  readonly backend: HostedBackend
}

export class ProcessLinkHost implements LinkHost {
  readonly #options: ProcessLinkHostOptions
  #settings: CollectiveSettings = defaultSettings
  #rank = 0
  bytesSent = 0

  constructor(options: ProcessLinkHostOptions) {
    this.#options = options
  }

  async listen(certificate: LinkCertificate, host: string): Promise<number> {
    const { port } = await this.#options.backend.ask<{ port: number }>(linkRequests.listen, { certificate, host })
    return port
  }

  async connect(plan: LinkPlan): Promise<void> {
    this.#rank = plan.rank
    await this.#options.backend.ask(linkRequests.connect, plan)
  }

  probe(): Promise<RingLink[]> {
    return this.#options.backend.ask(linkRequests.probe, {})
  }

  get engine(): Engine {
    const { shape, ranges, backend, embed } = this.#options
    return {
      vocabStart: ranges.vocab.start,
      contextLength: shape.context,
      step: async (input) => {
        const plan = planStep(input, shape)
        const { hidden, logits } = await backend.buffers(plan.rows)
        embed(plan.tokens, hidden.subarray(0, plan.rows * shape.hidden))
        const { times, bytesSent, seen } = await backend.ask<LinkedStepResult>(
          linkRequests.step,
          { input, settings: this.#settings } satisfies LinkedStep,
          plan.spans,
        )
        this.bytesSent = bytesSent
        return { rows: rowLogits(plan, logits, ranges), times, seen: seen && decodeSeen(seen) }
      },
      forget: (job) => backend.tell(linkRequests.forget, { job }),
      release: (slot) => backend.release(slot),
      close: () => backend.close(),
    }
  }

  use(settings: CollectiveSettings): void {
    this.#settings = settings
  }

  break(error: MeshError): void {
    this.#options.backend.tell(linkRequests.break, error.toReport())
  }

  async close(): Promise<void> {
    this.break(new MeshError('peerLost', { peer: 'this agent', rank: this.#rank, problem: 'it left the epoch' }))
    await this.#options.backend.ask(linkRequests.leave, {}).catch(() => {}) // a process that died has no links
  }
}
