/**
 * Where the sockets of a rank end: in this process (`local-link-host.ts`), or, for the agent whose compute process
 * holds them, over there (`agent/rank/process-link-host.ts`).
 */
import type { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { RingLink } from '../../shared/schema/ring.ts'
import type { CollectiveSettings } from '../collective/chooser.ts'
import type { Engine } from '../engine/engine.ts'
import type { LinkPlan } from '../channel/sockets/link-plan.ts'
import type { LinkCertificate } from '../channel/sockets/tls-sockets.ts'

export interface LinkHost {
  /** @returns the port. @throws MeshError `backendFailed` | Error */
  listen(certificate: LinkCertificate, host: string): Promise<number>
  /** @throws MeshError `backendFailed` | Error when not all ranks are there in time */
  connect(plan: LinkPlan): Promise<void>
  /**
   * What the sockets cost; every rank must ask at the same time, right after `connect`.
   * @throws MeshError `backendFailed`
   */
  probe(logger: Logger): Promise<RingLink[]>
  /** Runs whole steps, with sums over the sockets. Usable once `connect` is done. */
  readonly engine: Engine
  /** How to sum from the next step on. */
  use(settings: CollectiveSettings): void
  /** Fails the step that runs: the epoch is over. */
  break(error: MeshError): void
  /** Over the sockets, so far. */
  readonly bytesSent: number
  /** Ends links; the backend stays. Never throws. */
  close(): Promise<void>
}
