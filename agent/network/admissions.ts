/** What the other sides of connections proved: the pools that each is a member of, until its certificates end. */
import type { Connection } from '@libp2p/interface'
import { MeshError } from '../../shared/errors.ts'
import type { Certificate } from '../../shared/identity/pool-certificate.ts'
import type { Logger } from '../../shared/log.ts'
import { longestTimerMs } from '../../shared/units.ts'
import type { Member } from './member.ts'

interface Admission {
  readonly certificate: Certificate
  /** Ends the admission with the certificate. */
  readonly timer: NodeJS.Timeout
}

export class Admissions {
  readonly #now: () => number
  readonly #logger: Logger
  /** By pool. A connection that proved nothing is not in here. */
  readonly #of = new WeakMap<Connection, Map<string, Admission>>()

  constructor({ now, logger }: { readonly now: () => number; readonly logger: Logger }) {
    this.#now = now
    this.#logger = logger
  }

  /** The certificate that holds on that connection for that pool. */
  certificateOf(connection: Connection, poolId: string): Certificate | undefined {
    return this.#of.get(connection)?.get(poolId)?.certificate
  }

  /** Pools whose membership was proved on it. */
  poolsOf(connection: Connection): string[] {
    return [...(this.#of.get(connection)?.keys() ?? [])]
  }

  /** The other side, if it proved membership of any pool of ours. */
  memberOn(connection: Connection): Member | undefined {
    const first = this.#of.get(connection)?.values().next().value
    if (first === undefined) return undefined
    const { deviceId } = first.certificate
    return {
      connection,
      deviceId,
      isOf: (poolId: string) => this.certificateOf(connection, poolId) !== undefined,
    } as Member
  }

  /** It showed that certificate, which was checked. @returns true when it had shown none of that pool before */
  admit(connection: Connection, certificate: Certificate): boolean {
    const admissions = this.#of.get(connection) ?? new Map<string, Admission>()
    const before = admissions.get(certificate.poolId)
    clearTimeout(before?.timer)
    admissions.set(certificate.poolId, { certificate, timer: this.#endWith(connection, certificate) })
    this.#of.set(connection, admissions)
    return before === undefined
  }

  /** Ends a connection that was admitted. What it still serves for another pool begins anew on the next one. */
  cut(connection: Connection, error: MeshError): void {
    this.#logger.warn({ peer: connection.remotePeer.toString(), code: error.code }, `gate: cut (${error.message})`)
    this.end(connection)
    connection.abort(error)
  }

  /** From now on nothing is proved on it. */
  end(connection: Connection): void {
    for (const { timer } of this.#of.get(connection)?.values() ?? []) clearTimeout(timer)
    this.#of.delete(connection)
  }

  /** An admission ends with the certificate, however long the connection is open. */
  #endWith(connection: Connection, certificate: Certificate): NodeJS.Timeout {
    const leftMs = certificate.notAfter - this.#now()
    const { poolId, notAfter } = certificate
    const timer = setTimeout(
      () => {
        if (leftMs > longestTimerMs)
          this.#of.get(connection)?.set(poolId, { certificate, timer: this.#endWith(connection, certificate) })
        else this.cut(connection, new MeshError('certificateExpired', { notAfter }))
      },
      Math.min(Math.max(0, leftMs), longestTimerMs),
    )
    return timer.unref()
  }
}
