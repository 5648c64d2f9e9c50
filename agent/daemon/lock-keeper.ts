/**
 * Keeps the memory lock while the agent runs: measures, counts the cooldown, tells the control plane, refuses too much.
 */
import type { Client } from '../../shared/api/client.ts'
import { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { rankBytes } from '../../shared/plan/shard-memory.ts'
import type { AgentState } from '../../shared/schema/agent-state.ts'
import { usableBytes } from '../../shared/schema/lock.ts'
import type { RingEpoch, RingMember } from '../../shared/schema/ring.ts'
import { formatBytes } from '../../shared/words.ts'
import { advance, readClock } from '../device/elapsed.ts'
import { changeLock, loadLock, saveCountdown, type StoredLock } from '../device/lock-store.ts'
import { type LockSync, syncLock } from '../device/lock-sync.ts'
import { heldBytes, type MeasuredMemory, measureMemory } from '../device/memory.ts'
import { release, type Standing, standingOf } from '../device/resource-lock.ts'

/** How often the machine is measured and the lock looked at. */
const lookMs = 15_000
/** How often a running cooldown is written down: a crash of the machine costs this much at most. */
const writeMs = 60_000

export interface LockKeeperOptions extends Pick<LockSync, 'home' | 'device'> {
  readonly logger: Logger
  /** The control plane that the agent talks to now: it may turn to another one at any time. */
  client(): Client
  onChange(): void
}

export class LockKeeper {
  readonly name = 'memory lock'
  readonly #options: LockKeeperOptions
  #lock: StoredLock | undefined
  #memory: MeasuredMemory & { readonly heldBytes: number }
  #standing: Standing
  /** The statement that the control plane confirmed on this connection. */
  #confirmed: string | undefined
  #connected = false
  #writtenAt = 0
  #problem = ''
  readonly #timer: NodeJS.Timeout

  constructor(options: LockKeeperOptions) {
    this.#options = options
    this.#memory = { ...measureMemory(), heldBytes: 0 }
    this.#standing = standingOf(undefined, readClock(), { obtainable: 0, wasDegraded: false })
    this.look()
    this.#timer = setInterval(() => this.look(), lookMs).unref()
  }

  get missingBytes(): number {
    return this.#standing.missingBytes
  }

  get availableBytes(): number {
    return this.#memory.availableBytes
  }

  /** For `mesh status`. */
  get view(): NonNullable<AgentState['memory']> {
    const { limitBytes, availableBytes, heldBytes: held, limitedBy } = this.#memory
    return { limitBytes, availableBytes, heldBytes: held, limitedBy, missingBytes: this.#standing.missingBytes }
  }

  connected(isConnected: boolean): void {
    this.#connected = isConnected
    this.#confirmed = undefined
    if (isConnected) this.#tell()
  }

  /**
   * The planner counts the same way; this is for a control plane that is wrong.
   * @param others what this device holds of other rings
   * @throws MeshError `ringTooLarge`
   */
  admit(
    { ringId, model, quant }: RingEpoch,
    member: RingMember,
    others: readonly { readonly ring: RingEpoch; readonly member: RingMember }[],
  ): void {
    this.look()
    if (this.#standing.phase === 'unlocked') return
    const needs = rankBytes(model.shape, quant, member.ranges, member.context ?? model.shape.context)
    const taken = others
      .filter(({ ring }) => ring.ringId !== ringId)
      .reduce((sum, { member: { bytes = 0 } }) => sum + bytes, 0)
    const room = Math.max(0, usableBytes(this.#standing.memoryBytes) - taken)
    if (needs > room)
      throw new MeshError('ringTooLarge', {
        modelId: model.modelId,
        quant,
        device: member.name,
        needs: formatBytes(needs),
        lacks: formatBytes(needs - room),
        room: formatBytes(room),
      })
  }

  /** Writes the cooldown down a last time. */
  stop(): void {
    clearInterval(this.#timer)
    this.#writtenAt = 0
    this.#count()
  }

  /** Measures, counts, and tells the control plane what it does not know. */
  look(): void {
    const { logger, onChange } = this.#options
    try {
      this.#count()
      this.#problem = ''
    } catch (error) {
      const { message } = MeshError.from(error)
      if (message !== this.#problem) logger.warn({ problem: message }, 'the memory lock cannot be read or written')
      this.#problem = message
    }
    this.#memory = { ...measureMemory(), heldBytes: heldBytes(process.pid) }
    const before = this.#standing
    const obtainable = Math.min(this.#memory.limitBytes, this.#memory.availableBytes + this.#memory.heldBytes)
    this.#standing = standingOf(this.#lock, readClock(), { obtainable, wasDegraded: before.missingBytes > 0 })
    const { missingBytes, memoryBytes } = this.#standing
    const facts = {
      locked: formatBytes(memoryBytes),
      obtainable: formatBytes(obtainable),
      limitedBy: this.#memory.limitedBy,
    }
    if (missingBytes > 0 && before.missingBytes === 0)
      logger.warn(
        facts,
        `degraded: ${formatBytes(memoryBytes)} are locked and ${formatBytes(missingBytes)} of it is missing; ` +
          'this device gets nothing new until it is there',
      )
    if (missingBytes === 0 && before.missingBytes > 0) logger.info(facts, 'the locked memory is there again')
    this.#tell()
    onChange()
  }

  /** Reads the newest lock and brings its cooldown up to date. */
  #count(): void {
    const { home, device, logger } = this.#options
    const now = readClock()
    this.#lock = loadLock(home, device)
    if (this.#lock?.countdown === undefined) return
    if (release(this.#lock, now) !== undefined) {
      this.#lock = changeLock(home, device, (newest) => release(newest, now)).after
      if (this.#lock?.commitment.phase === 'released') logger.info('the cooldown is over: no memory is locked any more')
    } else if (now.uptimeMs - this.#writtenAt >= writeMs) {
      this.#writtenAt = now.uptimeMs
      saveCountdown(home, { ...this.#lock, countdown: advance(this.#lock.countdown, now) })
    }
  }

  /** Tells the control plane what it does not know yet. */
  #tell(): void {
    if (!this.#connected || (this.#lock !== undefined && this.#confirmed === this.#lock.statement)) return
    const wanted = this.#lock?.statement
    const { home, device } = this.#options
    const client = this.#options.client()
    syncLock({ home, device, client })
      .then((lock) => {
        // what the one of before confirmed says nothing of this one
        if (client === this.#options.client()) this.#confirmed = lock?.statement
        if (lock?.statement !== wanted) this.look()
      })
      .catch((error: unknown) =>
        this.#options.logger.warn(
          { problem: MeshError.from(error).message },
          'the memory lock is not recorded at the control plane yet; trying again',
        ),
      )
  }
}
