/**
 * What this device did for jobs, signed and told to the control plane until it has it: from that it gets its credits.
 * A report is on disk before it is sent, and on rank 0 before the answer is: of an answer that arrived, the report of
 * the device that led it can arrive too.
 */
import type { AgentMessage } from '../../shared/api/messages.ts'
import type { KeyPair } from '../../shared/identity/keys.ts'
import { signStatement } from '../../shared/identity/statement.ts'
import { heldWeights } from '../../shared/plan/shard-plan.ts'
import type { RingEpoch, RingMember } from '../../shared/schema/ring.ts'
import type { RankWork } from '../generation/protocol.ts'
import type { MessageStore } from '../device/message-store.ts'
import { Outbox } from './outbox.ts'

export interface WorkReportsOptions {
  readonly key: KeyPair
  readonly store: MessageStore
  send(message: AgentMessage): void
}

export class WorkReports {
  readonly name = 'work reports'
  readonly #key: KeyPair
  readonly #outbox: Outbox

  constructor({ key, store, send }: WorkReportsOptions) {
    this.#key = key
    this.#outbox = new Outbox(store, send)
  }

  /** Nothing is said of a job that ended before it got here. */
  post(ring: RingEpoch, member: RingMember, { jobId, tokens, computeMs }: RankWork): void {
    if (tokens === 0) return
    const statement = {
      kind: 'work',
      jobId,
      epoch: ring.epoch,
      weights: heldWeights(ring.model.shape, member.ranges),
      tokens,
      computeUs: Math.round(computeMs * 1000),
    } as const
    this.#outbox.post({
      type: 'work-report',
      poolId: ring.poolId,
      jobId,
      report: signStatement(this.#key, ring.poolId, statement),
    })
  }

  kept(jobId: string): void {
    this.#outbox.settled(jobId)
  }

  /** After a reconnect. */
  resend(): void {
    this.#outbox.resend()
  }

  stop(): void {
    this.#outbox.stop()
  }
}
